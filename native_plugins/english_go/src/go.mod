module english

go 1.19
