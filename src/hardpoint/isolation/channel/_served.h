/* A channel on the worker's side: its mappings, the hp_out whose text is the reply's, and the reply. */
#ifndef HARDPOINT_SERVED_H
#define HARDPOINT_SERVED_H

#include "../../contracts/hardpoint.h"
#include "_channel.h"
#include "_wait.h"

#pragma GCC visibility push(hidden)

typedef struct {
    Request *request;
    Reply *reply;
    size_t request_mapped, reply_mapped;
    uint64_t half, room;
    uint32_t word;  /* of the last request; its answer has the same */
    bool has_reply; /* written and not published yet */
    Waiter waiter;
} Channel;

/* The hp_out of one call. The plugin can write to all of it, so there are copies. */
typedef struct {
    hp_out out;
    char *data;
    size_t cap;
    Channel *channel;
    bool refused; /* a call of grow was refused */
} ReplyOut;

/* Maps a channel; NULL with errno if there is no memory for it. */
Channel *channel_open(int fd, uint64_t half, uint64_t room);

/* Unmaps and frees it. */
void channel_close(Channel *channel);

/* Maps more of the request half, at least `need` bytes; ends the process if that fails. */
void channel_reach(Channel *channel, uint64_t need);

/* Unmaps all beyond the first CHANNEL_MAPPED bytes of each half, if more than 4 MiB are mapped. */
void channel_shrink(Channel *channel);

/* hp_out.grow */
hp_status reply_out_grow(hp_out *out, size_t need);

static inline void reply_out_open(ReplyOut *out, Channel *channel) {
    const size_t mapped = channel->reply_mapped - sizeof(Reply);
    out->data = channel->reply->text;
    out->cap = mapped < channel->room ? mapped : channel->room;
    out->out = (hp_out){.data = out->data, .len = 0, .cap = out->cap, .grow = reply_out_grow};
    out->channel = channel;
    out->refused = false;
}

/* Writes the reply's head after a call; `has_text` says that a success leaves text. */
static inline void reply_write(Channel *channel, const ReplyOut *out, hp_status status, bool has_text,
                               uint64_t scalar) {
    Reply *reply = channel->reply;
    uint32_t flags = out->refused ? REPLY_GROW_REFUSED : 0;
    uint64_t len = out->out.len;
    if (out->out.data != out->data || out->out.cap != out->cap) {
        flags |= REPLY_TAMPERED;
        len = 0;
    } else if (len > out->cap) {
        flags |= REPLY_TOO_LONG;
        scalar = out->cap;
    } else if (status == HP_OK && !has_text) {
        len = 0;
    }
    if (status < 0 || status > 65535) {
        flags |= REPLY_BAD_STATUS;
    }
    flags |= channel->reply_mapped > CHANNEL_LARGE ? REPLY_LARGE : 0;
    reply->status = status;
    reply->len = len;
    reply->scalar = scalar;
    reply->flags = flags;
    reply->service = 0;
}

/* Publishes the reply. */
static inline void reply_publish(Channel *channel) {
    const int cpu = sched_getcpu();
    channel->reply->cpu = cpu < 0 ? UINT16_MAX : (uint16_t)cpu;
    wait_publish(&channel->waiter, &channel->reply->word, channel->word);
    channel->has_reply = false;
}

#pragma GCC visibility pop

#endif
