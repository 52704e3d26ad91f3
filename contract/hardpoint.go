// hardpoint.go - hardpoint.h for plugins in Go: a file of package main, beside the plugin's own.
//
// A plugin is built with -buildmode=c-shared. Its methods are functions with an //export, and a .c file in the same
// directory defines the plugin with the contract's macro. hardpoint.h has the rules. Go 1.19 or newer.
//
// A panic becomes a failed call (see call). Go cannot recover from these, which end the process: use of a nil pointer,
// since the host handles SIGSEGV; writes to one map from two goroutines; stack overflow; lack of memory.
package main

/*
#include "hardpoint.h"

// Types of a slot's parameters; without names, cgo drops the const. Each file that exports methods has these lines.
typedef const char hp_char;
typedef const uint8_t hp_byte;
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"
)

// Failure is an error with its own status: C.HP_INVALID, or C.HP_AUTHOR and up.
type Failure struct {
	Status C.hp_status
	Text   string
}

func (failure Failure) Error() string { return failure.Text }

// call runs a method's body; an error that it returns, or a panic, becomes a status and a reason in out.
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
	reason = strings.ToValidUTF8(reason, "\uFFFD") // a string of Go may hold any bytes
	if write(out, reason) != nil && out.cap < C.size_t(len(reason)) {
		write(out, strings.ToValidUTF8(reason[:out.cap], "")) // out of memory: as much as fits, in whole characters
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

// view is a bytes parameter, not copied; it must not be written to. Valid during the call; other threads may change it.
func view(data *C.hp_byte, n C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(data)), n)
}

// buffer is a bytearray parameter, not copied, to be changed in place. Valid during the call; other threads may change
// it, and another buffer of the call may be the same memory.
func buffer(data *C.uint8_t, n C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(data)), n)
}

func main() {} // never called, but c-shared wants one
