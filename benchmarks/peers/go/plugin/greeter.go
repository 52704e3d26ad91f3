// A greeter for Go's own plugin package.
package main

func Greet(name string) string { return "Hello, " + name + "! Nice to meet you." }

func Lang() string { return "English" }

func main() {}
