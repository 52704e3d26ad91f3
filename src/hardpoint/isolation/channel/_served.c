/* A channel on the worker's side: its mappings, and larger ones on demand. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "_served.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "_program.h"

enum { PAGE = 1 << 16 }; /* pages have up to 64 KiB, on AArch64 */

static void *map_half(int fd, uint64_t offset) {
    void *half = mmap(NULL, CHANNEL_MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    return half == MAP_FAILED ? NULL : half;
}

Channel *channel_open(int fd, uint64_t half, uint64_t room) {
    Channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) {
        return NULL;
    }
    *channel = (Channel){.half = half, .room = room, .request_mapped = CHANNEL_MAPPED,
                         .reply_mapped = CHANNEL_MAPPED};
    channel->request = map_half(fd, 0);
    channel->reply = channel->request == NULL ? NULL : map_half(fd, half);
    if (channel->reply == NULL) {
        const int why = errno;
        channel_close(channel);
        errno = why;
        return NULL;
    }
    return channel;
}

void channel_close(Channel *channel) {
    if (channel->request != NULL) {
        munmap(channel->request, channel->request_mapped);
    }
    if (channel->reply != NULL) {
        munmap(channel->reply, channel->reply_mapped);
    }
    free(channel);
}

void channel_reach(Channel *channel, uint64_t need) {
    if (need > channel->half) {
        fail("a request beyond the end of its channel");
    }
    const size_t size = (need + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    void *moved = mremap(channel->request, channel->request_mapped, size, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {
        out_of_memory();
    }
    channel->request = moved;
    channel->request_mapped = size;
}

void channel_shrink(Channel *channel) {
    if (channel->request_mapped > CHANNEL_LARGE) {
        munmap((char *)channel->request + CHANNEL_MAPPED, channel->request_mapped - CHANNEL_MAPPED);
        channel->request_mapped = CHANNEL_MAPPED;
    }
    if (channel->reply_mapped > CHANNEL_LARGE) {
        munmap((char *)channel->reply + CHANNEL_MAPPED, channel->reply_mapped - CHANNEL_MAPPED);
        channel->reply_mapped = CHANNEL_MAPPED;
    }
}

/* Maps the reply half up to a text of `size` bytes. */
static bool reach_reply(Channel *channel, size_t size) {
    uint64_t end = (sizeof(Reply) + size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    end = end < channel->half ? end : channel->half;
    void *moved = mremap(channel->reply, channel->reply_mapped, end, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) {
        return false;
    }
    channel->reply = moved;
    channel->reply_mapped = end;
    return true;
}

hp_status reply_out_grow(hp_out *out, size_t need) {
    ReplyOut *mine = (ReplyOut *)out;
    Channel *channel = mine->channel;
    if (need <= mine->cap) {
        return HP_OK;
    }
    const size_t twice = 2 * mine->cap < channel->room ? 2 * mine->cap : channel->room;
    if (need > channel->room || (!reach_reply(channel, need > twice ? need : twice) && !reach_reply(channel, need))) {
        mine->refused = true;
        return HP_NO_MEMORY;
    }
    const size_t mapped = channel->reply_mapped - sizeof(Reply);
    out->data = mine->data = channel->reply->text;
    out->cap = mine->cap = mapped < channel->room ? mapped : channel->room;
    return HP_OK;
}
