"""The bytes of an ELF file, none of them trusted."""
