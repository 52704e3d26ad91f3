/* The shared object as a program: what an executable has from crt1.o.
 *
 * The kernel runs an ELF file of the type ET_DYN if it names its loader, which then calls the entry point. So one file
 * is the library that Python's side opens, and the program that it starts, wherever the wheel put it. It must be linked
 * with -e hp_start.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_zygote.h"

#if defined __x86_64__
#define LOADER "/lib64/ld-linux-x86-64.so.2"
/* System V psABI, 3.4.1: argc is at the stack pointer, argv behind it, and rdx has a function for atexit. The seventh
 * argument is on the stack, which is then aligned to 16 bytes. */
__asm__(".text\n"
        ".globl hp_start\n"
        ".hidden hp_start\n"
        ".type hp_start, @function\n"
        "hp_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rdx, %r9\n"
        "    popq %rsi\n"
        "    movq %rsp, %rdx\n"
        "    andq $-16, %rsp\n"
        "    pushq %rax\n"
        "    pushq %rsp\n"
        "    xorl %r8d, %r8d\n"
        "    xorl %ecx, %ecx\n"
        "    leaq hp_main(%rip), %rdi\n"
        "    call *__libc_start_main@GOTPCREL(%rip)\n"
        "    hlt\n"
        "    .long hp_loader - .\n"
        ".size hp_start, . - hp_start\n");
#elif defined __aarch64__
#define LOADER "/lib/ld-linux-aarch64.so.1"
/* AAPCS64: the same, and x0 has the function for atexit. */
__asm__(".text\n"
        ".globl hp_start\n"
        ".hidden hp_start\n"
        ".type hp_start, %function\n"
        "hp_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x5, x0\n"
        "    ldr x1, [sp]\n"
        "    add x2, sp, #8\n"
        "    mov x6, sp\n"
        "    mov x3, #0\n"
        "    mov x4, #0\n"
        "    adrp x0, hp_main\n"
        "    add x0, x0, :lo12:hp_main\n"
        "    bl __libc_start_main\n"
        "    brk #1\n"
        "    .long hp_loader - .\n"
        ".size hp_start, . - hp_start\n");
#else
#error "hardpoint runs on x86-64 and AArch64"
#endif

/* Named by the code above, so that a linker with --gc-sections keeps it. */
__attribute__((section(".interp"), used, visibility("hidden"))) const char hp_loader[] = LOADER;

__attribute__((used, visibility("hidden"))) int hp_main(int argc, char **argv);

int hp_main(int argc, char **argv) {
    if (argc != 4 || strcmp(argv[1], "zygote") != 0) {
        fputs("This is the program of hardpoint's isolated plugins, which hardpoint starts by itself.\n", stderr);
        return 2;
    }
    return zygote_main(argv, (pid_t)strtol(argv[2], NULL, 10), (int)strtol(argv[3], NULL, 10));
}
