// Uses what Go's library has for plugins, in a folder that `greet` is given, and answers `done`.
package main

// #include "greeter.h"
// typedef const char hp_char; // for the slots' parameters: cgo drops const from unnamed types
import "C"

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

func tryRoutines() error {
	var group sync.WaitGroup
	numbers := make(chan int)
	for index := 0; index < 64; index++ {
		group.Add(1)
		go func(index int) {
			defer group.Done()
			runtime.LockOSThread() // a thread each
			defer runtime.UnlockOSThread()
			time.Sleep(time.Microsecond)
			numbers <- index
		}(index)
	}
	sum := 0
	for index := 0; index < 64; index++ {
		select {
		case number := <-numbers:
			sum += number
		case <-time.After(10 * time.Second):
			return fmt.Errorf("a routine did not answer")
		}
	}
	group.Wait()
	if sum != 2016 {
		return fmt.Errorf("a sum of %d", sum)
	}
	return nil
}

func tryFiles(folder string) error {
	first, second := filepath.Join(folder, "runtime-go"), filepath.Join(folder, "runtime-go.new")
	if err := os.WriteFile(first, []byte("1\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(first, second); err != nil {
		return err
	}
	if text, err := os.ReadFile(second); err != nil || string(text) != "1\n" {
		return fmt.Errorf("read: %q %v", text, err)
	}
	if err := os.Mkdir(first, 0o700); err != nil {
		return err
	}
	if list, err := os.ReadDir(folder); err != nil || len(list) < 2 {
		return fmt.Errorf("list: %v %v", list, err)
	}
	reader, writer, err := os.Pipe() // the poller
	if err != nil {
		return err
	}
	go func() {
		time.Sleep(time.Millisecond)
		writer.Close()
	}()
	if _, err := reader.Read(make([]byte, 1)); err == nil {
		return fmt.Errorf("a pipe without an end")
	}
	reader.Close()
	if err := os.Remove(first); err != nil {
		return err
	}
	return os.Remove(second)
}

func tryRest() (err error) {
	defer func() {
		if recover() == nil {
			err = fmt.Errorf("no panic")
		}
	}()
	blocks := make([][]byte, 0)
	for size := 0; size < 64; size++ {
		blocks = append(blocks, make([]byte, size<<10))
	}
	runtime.GC()
	if _, err := rand.Read(blocks[63]); err != nil {
		return err
	}
	host, _ := os.Hostname()
	fmt.Println(host, time.Now().Year(), runtime.NumCPU(), os.Getpid())
	panic("asked for")
}

//export english_greet
func english_greet(_ unsafe.Pointer, name *C.hp_char, size C.size_t, out *C.hp_out) C.hp_status {
	return call(out, func() error {
		for _, try := range []func() error{tryRoutines, func() error { return tryFiles(text(name, size)) }, tryRest} {
			if err := try(); err != nil {
				return write(out, err.Error())
			}
		}
		return write(out, "done")
	})
}

//export english_lang
func english_lang(_ unsafe.Pointer, out *C.hp_out) C.hp_status {
	return call(out, func() error { return write(out, "Go") })
}
