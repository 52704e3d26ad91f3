/* The zygote's entry, for _start.c. */
#ifndef HARDPOINT_ZYGOTE_H
#define HARDPOINT_ZYGOTE_H

#include <sys/types.h>

/* Forks a worker at each request on the socket `control`, until it is closed or the process `host` ends. */
__attribute__((visibility("hidden"))) int zygote_main(char **argv, pid_t host, int control);

#endif
