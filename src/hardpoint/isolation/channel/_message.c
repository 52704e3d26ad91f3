/* Messages with descriptors on a SOCK_SEQPACKET socket (unix(7), SCM_RIGHTS). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "_program.h"

union Ancillary {
    struct cmsghdr head; /* for its alignment */
    char room[CMSG_SPACE(5 * sizeof(int))];
};

static void keep_descriptors(struct msghdr *head, int *fds, unsigned most, unsigned *count) {
    for (struct cmsghdr *part = CMSG_FIRSTHDR(head); part != NULL; part = CMSG_NXTHDR(head, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t got = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < got; index++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + index * sizeof fd, sizeof fd);
            if (*count < most) {
                fds[(*count)++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

bool message_receive(int fd, void *message, size_t size, int *fds, unsigned most, unsigned *count) {
    union Ancillary ancillary;
    struct iovec part = {.iov_base = message, .iov_len = size};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary,
                          .msg_controllen = CMSG_SPACE(most * sizeof(int))};
    ssize_t got;
    *count = 0;
    do {
        got = recvmsg(fd, &head, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return false;
    }
    keep_descriptors(&head, fds, most, count);
    if ((size_t)got == size) {
        return true;
    }
    while (*count > 0) {
        close(fds[--*count]);
    }
    return false;
}

bool message_send(int socket, const void *message, size_t size, int fd) {
    union Ancillary ancillary = {.head = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET,
                                          .cmsg_type = SCM_RIGHTS}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;
    if (fd >= 0) {
        memcpy(CMSG_DATA(&ancillary.head), &fd, sizeof fd);
        head.msg_control = &ancillary;
        head.msg_controllen = CMSG_SPACE(sizeof fd);
    }
    do {
        sent = sendmsg(socket, &head, MSG_NOSIGNAL);
    } while (sent < 0 && (errno == EINTR || errno == ENOBUFS || errno == ENOMEM));
    return sent >= 0;
}
