// A greeter that speaks English.
package main

// #include "greeter.h"
// typedef const char hp_char; // for the slots' parameters: cgo drops const from unnamed types
import "C"

import "unsafe"

//export english_greet
func english_greet(_ unsafe.Pointer, name *C.hp_char, size C.size_t, out *C.hp_out) C.hp_status {
	return call(out, func() error {
		return write(out, "Hello, "+text(name, size)+"! Nice to meet you.")
	})
}

//export english_lang
func english_lang(_ unsafe.Pointer, out *C.hp_out) C.hp_status {
	return call(out, func() error { return write(out, "English") })
}
