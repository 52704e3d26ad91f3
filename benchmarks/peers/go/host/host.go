// A Go program that opens the plugin and times calls to it: "greet 1000" on stdin, nanoseconds on stdout.
package main

import (
	"fmt"
	"os"
	"plugin"
	"time"
)

func symbol(opened *plugin.Plugin, name string) plugin.Symbol {
	found, err := opened.Lookup(name)
	if err != nil {
		panic(err)
	}
	return found
}

func main() {
	opened, err := plugin.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	greet := symbol(opened, "Greet").(func(string) string)
	lang := symbol(opened, "Lang").(func() string)
	var method, text string
	var count int
	for {
		if _, err := fmt.Scan(&method, &count); err != nil {
			return
		}
		start := time.Now()
		for i := 0; i < count; i++ {
			if method == "greet" {
				text = greet("World")
			} else {
				text = lang()
			}
		}
		fmt.Println(time.Since(start).Nanoseconds(), text)
	}
}
