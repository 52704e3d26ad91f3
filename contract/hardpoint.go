// hardpoint.go - hardpoint.h for plugins in Go: a file of package main, beside the plugin's own.
//
// A plugin is built with -buildmode=c-shared. Its methods are functions with an //export, and a .c file in the same folder
// writes the plugin over them, with the contract's macro. hardpoint.h has the rules. Go 1.19 or newer.
//
// A panic stops at the border (see call). What Go cannot recover from ends the process: a nil pointer's use, which Go
// learns of by a signal that is the host's; writes to one map from two goroutines; a stack too deep; no more memory.
package main

/*
#include "hardpoint.h"

// What a slot takes; without names, cgo drops the const. Each file that exports such a function has these lines too.
typedef const char hp_char;
typedef const uint8_t hp_byte;
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// Failure is an error with a status of its own: C.HP_INVALID, or from C.HP_AUTHOR on.
type Failure struct {
	Status C.hp_status
	Text   string
}

func (failure Failure) Error() string { return failure.Text }

// call runs a method's body; an error that it returns, and a panic, becomes a status and a reason in out.
func call(out *C.hp_out, body func() error) (status C.hp_status) {
	defer func() {
		if panicked := recover(); panicked != nil {
			status = fail(out, C.HP_FAILED, fmt.Sprint("panicked: ", panicked))
		}
	}()
	switch err := body().(type) {
	case nil:
		return C.HP_OK
	case Failure:
		return fail(out, err.Status, err.Text)
	default:
		return fail(out, C.HP_FAILED, err.Error())
	}
}

func fail(out *C.hp_out, status C.hp_status, reason string) C.hp_status {
	out.len = 0
	if write(out, reason) != nil {
		write(out, strings.ToValidUTF8(reason[:out.cap], "")) // memory ran out: what there is room for
	}
	if status <= 0 {
		return C.HP_FAILED
	}
	return status
}

// write appends to the result, of a method that returns str or bytes.
func write[T string | []byte](out *C.hp_out, data T) error {
	n := C.size_t(len(data))
	if out.cap-out.len < n && C.hp_reserve(out, n) != C.HP_OK { // a call of C costs more than a short copy
		return Failure{C.HP_NO_MEMORY, ""}
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(out.data)), out.cap)[out.len:], data)
	out.len += n
	return nil
}

// text is a copy of a str.
func text(data *C.hp_char, n C.size_t) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(data)), n))
}

// view is a bytes (not to be written to) where it is. It is the host's: valid during the call, and other threads may change it.
func view(data *C.hp_byte, n C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(data)), n)
}

// buffer is a bytearray where it is, to be changed in place. As for view; and another buffer of the call may be the same memory.
func buffer(data *C.uint8_t, n C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(data)), n)
}

func main() {} // never called, but c-shared wants one
