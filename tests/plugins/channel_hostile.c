/* Hostile workers against the host's side of a channel: `channel_hostile CASE process|thread`, or `channel_hostile list`.
 *
 * Each case breaks one rule, and says what the host may make of it. Beyond that, every case checks that no answer is outside its
 * bounds, that nothing hangs (SIGALRM), and that no descriptor, mapping or memory is left. Exit status 3: right, but it took too long,
 * as it may on a busy machine.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "_host.h"
#include "_ticks.h"
#include "channel_peer.h"

enum { MS = 1000000, HALF = 8 << 20, SLACK_MS = 400, TOO_SLOW = 3, TEXT = 64 << 10, LARGE_TEXT = 5 << 20 };

/* What became of a call, as bits, for several that are allowed. */
enum {
    GOOD = 1 << HP_ANSWERED,
    LATE = 1 << HP_TIMED_OUT,
    GONE = 1 << HP_GONE,
    UNSENT = 1 << 5,
    WORD = 1 << (8 + MALFORMED_WORD),
    FLAGS = 1 << (8 + MALFORMED_FLAGS),
    STATUS = 1 << (8 + MALFORMED_STATUS),
    LENGTH = 1 << (8 + MALFORMED_LENGTH),
    HOLES = 1 << (8 + MALFORMED_HOLES),
    WAKES = 1 << (8 + MALFORMED_WAKES)
};

typedef struct Case Case;
struct Case {
    const char *name;
    void (*act)(Peer *);
    unsigned allowed;
    int64_t value;                            /* for act */
    int good;                                 /* good calls before it */
    int deadline_ms;                          /* 0: none */
    int least_ms, most_ms;                    /* that the call takes; 0: not checked */
    void (*host)(const Case *, hp_channel *, Peer *); /* instead of call_once */
    int64_t half, room;                       /* 0: HALF, and all of it */
    bool kills;                               /* the worker, which cannot be a thread then */
};

/* ---- the host ---------------------------------------------------------------------------------------------------- */

static int64_t deadline_in(int milliseconds) {
    return milliseconds == 0 ? INT64_MAX : clock_now() + (int64_t)milliseconds * MS;
}

static void check_bounds(const hp_channel *channel, const hp_answer *answer) {
    CHECK((answer->flags & ~(uint32_t)REPLY_FLAGS) == 0);
    if ((answer->flags & (REPLY_BAD_STATUS | REPLY_NO_THREAD)) == 0) {
        CHECK(answer->status >= 0 && answer->status <= 65535);
    }
    if ((answer->flags & REPLY_TOO_LONG) == 0) {
        CHECK(answer->len <= channel->room);
    } else {
        CHECK(answer->len > answer->scalar);
    }
}

/* Reads the text into memory of exactly its size. */
static void read_text(const hp_channel *channel, const hp_answer *answer) {
    if ((answer->flags & REPLY_TOO_LONG) == 0) {
        char *text = malloc(answer->len + 1);
        CHECK(text != NULL);
        CHECK(hp_channel_read(channel, 1, 0, text, answer->len) == 0);
        free(text);
    }
}

static unsigned checked_answer(hp_channel *channel, hp_answer *answer) {
    const int why = hp_channel_answer(channel, answer);
    if (why == 0) {
        check_bounds(channel, answer);
        read_text(channel, answer);
    }
    return why == 0 ? GOOD : 1u << (8 + why);
}

static unsigned call(hp_channel *channel, int deadline_ms, hp_answer *answer) {
    static const char text[100] = "text";
    const hp_value values[2] = {{NULL, 42}, {text, sizeof text}};
    const int64_t deadline = deadline_in(deadline_ms);
    const int error = hp_channel_send(channel, 7, values, 2);
    int found = HP_INTERRUPTED;
    CHECK(error == 0 || error == EPIPE);
    while (error == 0 && found == HP_INTERRUPTED) {
        found = hp_channel_wait(channel, deadline);
    }
    if (error != 0) {
        return UNSENT;
    }
    if (found == HP_MALFORMED) {
        return 1u << (8 + hp_channel_why(channel));
    }
    return found == HP_ANSWERED ? checked_answer(channel, answer) : 1u << found;
}

static void check_allowed(const Case *each, unsigned found) {
    if ((found & each->allowed) == 0) {
        fprintf(stderr, "%s: found %#x, allowed %#x\n", each->name, found, each->allowed);
        _exit(1);
    }
}

static void good_call(hp_channel *channel) {
    hp_answer answer;
    char text[5];
    CHECK(call(channel, 10000, &answer) == GOOD);
    CHECK(answer.status == 0 && answer.flags == 0 && answer.scalar == 42 && answer.len == 5);
    CHECK(hp_channel_read(channel, 1, 0, text, 5) == 0 && memcmp(text, "hello", 5) == 0);
}

static void call_once(const Case *each, hp_channel *channel, Peer *peer) {
    hp_answer answer;
    (void)peer;
    for (int count = 0; count < each->good; count++) {
        good_call(channel);
    }
    const int64_t start = clock_now();
    check_allowed(each, call(channel, each->deadline_ms, &answer));
    const int64_t took = (clock_now() - start) / MS;
    if (took < each->least_ms || (each->most_ms != 0 && took > each->most_ms)) {
        fprintf(stderr, "%s: took %d ms, not %d to %d\n", each->name, (int)took, each->least_ms, each->most_ms);
        _exit(took < each->least_ms ? 1 : TOO_SLOW);
    }
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static void put_beside_answer(Peer *peer) {
    peer_write(peer, 0, 0, 0, 0);
    peer_put_word(peer, peer->seen + (uint32_t)peer->value);
}

static void put_word(Peer *peer) {
    peer_put_word(peer, (uint32_t)peer->value);
}

static void answer_twice(Peer *peer) {
    peer_answer(peer);
    peer_answer(peer);
    CHECK(peer_await(peer));
    peer_answer(peer);
}

static void call_twice(const Case *each, hp_channel *channel, Peer *peer) {
    (void)peer;
    for (int count = 0; count < each->good + 2; count++) {
        good_call(channel);
    }
}

static void answer_before_asked(Peer *peer) {
    peer_answer(peer);
    peer->seen += 2;
    peer_put_word(peer, peer->seen);
}

static void call_ahead(const Case *each, hp_channel *channel, Peer *peer) {
    hp_answer answer;
    (void)peer;
    for (int count = 0; count < 2; count++) {
        check_allowed(each, call(channel, 1000, &answer));
        peer_nap(5000);
    }
}

static void answer_without_wake(Peer *peer) {
    peer_nap(20000); /* the host sleeps by then */
    peer_write(peer, 0, 0, 0, 0);
    __atomic_store_n(&peer->reply->word, peer->seen, __ATOMIC_RELEASE);
}

static void do_nothing(Peer *peer) {
    (void)peer;
}

static void storm(Peer *peer) {
    while (!peer_is_stopped(peer)) {
        peer_wake(peer);
        peer_nap(peer->value);
    }
}

static void toggle_waiting(Peer *peer) {
    while (!peer_is_stopped(peer)) {
        peer_put_word(peer, (peer->seen - 2) | CHANNEL_WAITING);
        peer_put_word(peer, peer->seen - 2);
    }
}

/* So that the host sleeps, and nobody is going to wake it. */
static void clear_waiting(Peer *peer) {
    while (!peer_is_stopped(peer)) {
        __atomic_store_n(&peer->reply->word, peer->seen - 2, __ATOMIC_RELEASE);
    }
}

/* ---- the head of an answer --------------------------------------------------------------------------------------- */

static void answer_flags(Peer *peer) {
    peer_write(peer, 0, 0, 0, (uint32_t)peer->value);
    peer_put_word(peer, peer->seen);
}

static void answer_status(Peer *peer) {
    peer_write(peer, (int32_t)peer->value, 0, 0, 0);
    peer_put_word(peer, peer->seen);
}

static void answer_free_status(Peer *peer) {
    peer_write(peer, (int32_t)peer->value, 0, 0, REPLY_BAD_STATUS);
    peer_put_word(peer, peer->seen);
}

static void answer_length(Peer *peer) {
    peer_write(peer, 0, (uint64_t)peer->value, 0, 0);
    peer_put_word(peer, peer->seen);
}

static void answer_too_long(Peer *peer) {
    peer_write(peer, 0, 100, (uint64_t)peer->value, REPLY_TOO_LONG);
    peer_put_word(peer, peer->seen);
}

/* Times and a CPU that steer the host's spinning. */
static void answer_with_times(Peer *peer) {
    uint32_t count = 0;
    do {
        peer_write(peer, 0, 0, 42, 0);
        peer->reply->service = (uint16_t)(count % 3 == 0 ? 0 : UINT16_MAX);
        peer->reply->cpu = (uint16_t)(count % 4);
        peer_put_word(peer, peer->seen);
        count++;
    } while (peer_await(peer));
}

static void call_many(const Case *each, hp_channel *channel, Peer *peer) {
    hp_answer answer;
    (void)peer;
    for (int count = 0; count < 300; count++) {
        check_allowed(each, call(channel, each->deadline_ms, &answer));
    }
}

static void check_blocks(const Case *each, hp_channel *channel, Peer *peer) {
    struct stat status;
    call_once(each, channel, peer);
    CHECK(fstat(hp_channel_fd(channel), &status) == 0 && status.st_blocks < 64 * 1024 / 512);
}

/* ---- changes after the check ------------------------------------------------------------------------------------- */

enum { CHANGE_LENGTH = 1, CHANGE_FLAGS = 2, CHANGE_STATUS = 4, CHANGE_TEXT = 8, CHANGE_ALL = 15 };

static void change(Peer *peer) {
    volatile Reply *reply = peer->reply;
    peer_write(peer, 0, TEXT, 0, 0);
    memset(peer->reply->text, 'a', TEXT);
    peer_put_word(peer, peer->seen);
    for (uint64_t count = 0; !peer_is_stopped(peer); count++) {
        if ((peer->value & CHANGE_LENGTH) != 0) {
            reply->len = count % 4 == 0 ? UINT64_MAX - count % 64 : count % TEXT;
        }
        if ((peer->value & CHANGE_FLAGS) != 0) {
            reply->flags = (uint32_t)count;
        }
        if ((peer->value & CHANGE_STATUS) != 0) {
            reply->status = count % 4 == 0 ? INT_MIN : (int32_t)count;
        }
        if ((peer->value & CHANGE_TEXT) != 0) {
            memset(peer->reply->text, (int)count, TEXT);
        }
    }
}

static void answer_large(Peer *peer) {
    memset(peer->reply->text, 'a', LARGE_TEXT);
    peer_write(peer, 0, LARGE_TEXT, 0, 0);
    peer_put_word(peer, peer->seen);
    for (int count = 0; !peer_is_stopped(peer); count++) {
        memset(peer->reply->text, 'a' + count % 26, LARGE_TEXT);
    }
}

static void answer_again_and_again(const Case *each, hp_channel *channel, Peer *peer) {
    hp_answer answer;
    call_once(each, channel, peer);
    for (int64_t end = clock_now() + 60 * MS; clock_now() < end;) {
        check_allowed(each, checked_answer(channel, &answer));
    }
}

/* ---- the memory --------------------------------------------------------------------------------------------------
 *
 * SIGBUS in the host: memory beyond the file's end, which the seals rule out, or a page that the kernel cannot give. A hole that the
 * host reads or writes is such a page: with vm.overcommit_memory=2 at the limit (a memfd's pages are accounted one by one) it
 * raises SIGBUS; at a cgroup's limit the OOM killer comes instead. The sandbox refuses to punch holes, by fallocate(2) and
 * madvise(2). So there remain, with strict overcommit only, pages that the host is first to touch: of its own arguments, and of a text
 * below CHANNEL_MAPPED that the worker did not write. Beyond that the host reads and writes by pread(2) and pwrite(2).
 */

/* Answers how many of these were refused. */
static void change_size(Peer *peer) {
    uint64_t refused = 0;
    refused += ftruncate(peer->fd, 4096) != 0 && errno == EPERM;
    refused += ftruncate(peer->fd, (off_t)(4 * peer->half)) != 0 && errno == EPERM;
    refused += fallocate(peer->fd, 0, 0, (off_t)(4 * peer->half)) != 0 && errno == EPERM;
    refused += fcntl(peer->fd, F_ADD_SEALS, F_SEAL_WRITE) != 0 && errno == EPERM;
    refused += fallocate(peer->fd, FALLOC_FL_COLLAPSE_RANGE, 0, 1 << 20) != 0;
    peer_write(peer, 0, 0, refused, 0);
    peer_put_word(peer, peer->seen);
}

static void check_refusals(const Case *each, hp_channel *channel, Peer *peer) {
    hp_answer answer;
    (void)peer;
    check_allowed(each, call(channel, 10000, &answer));
    CHECK(answer.scalar == 5);
}

static int punch(const Peer *peer, off_t from, uint64_t size) {
    return fallocate(peer->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, (off_t)size);
}

static void punch_everything(Peer *peer) {
    CHECK(punch(peer, 0, 2 * peer->half) == 0);
    peer_wake(peer);
}

/* Under a host that reads: the text, and now and then the head too. */
static void punch_on(Peer *peer) {
    char *rest = (char *)peer->reply + 4096;
    memset(peer->reply->text, 'a', LARGE_TEXT);
    peer_write(peer, 0, LARGE_TEXT, 0, 0);
    peer_put_word(peer, peer->seen);
    for (int count = 1; !peer_is_stopped(peer); count++) {
        CHECK(punch(peer, (off_t)peer->half + (count % 8 == 0 ? 0 : 4096), peer->half - 4096) == 0);
        memset(peer->reply->text, 'b', LARGE_TEXT);
        peer_write(peer, 0, LARGE_TEXT, 0, 0);
        CHECK(madvise(rest, peer->half - 4096, MADV_REMOVE) == 0);
    }
}

static void scribble(Peer *peer) {
    for (int count = 0; !peer_is_stopped(peer); count++) {
        memset(peer->request, count, 4096);
    }
}

/* Its buffers are read back by the host's own lengths. */
static void send_and_read_back(const Case *each, hp_channel *channel, Peer *peer) {
    static char text[3 << 20];
    const hp_value values[2] = {{NULL, 42}, {text, sizeof text}};
    const uint64_t offset = hp_channel_offset(values, 2, 1);
    hp_answer answer;
    (void)peer;
    for (int count = 0; count < 20; count++) {
        check_allowed(each, call(channel, 5, &answer));
        CHECK(hp_channel_send(channel, 1, values, 2) == 0);
        CHECK(hp_channel_read(channel, 0, offset, text, sizeof text) == 0);
        CHECK(hp_channel_read(channel, 0, offset, text, 100) == 0);
        hp_channel_trim(channel);
    }
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

enum { DIES_ASKED, DIES_WRITING, DIES_WRITTEN, DIES_ANSWERED, DIES_WAKING };

static void die(Peer *peer) {
    const int64_t stage = peer->value;
    if (stage >= DIES_WRITING) {
        peer->reply->len = UINT64_MAX;
    }
    if (stage >= DIES_WRITTEN) {
        peer_write(peer, 0, 0, 0, 0);
    }
    if (stage >= DIES_ANSWERED) {
        __atomic_exchange_n(&peer->reply->word, peer->seen, __ATOMIC_ACQ_REL);
    }
    if (stage >= DIES_WAKING) {
        peer_wake(peer);
    }
    raise(SIGKILL);
}

typedef struct {
    hp_channel *channel;
    long after;   /* microseconds */
    pid_t killed; /* then, or 0 */
    pid_t pid;    /* whose end is waited for, or 0 */
} Reaper;

/* The host's thread that hears of ends. */
static void *reap(void *context) {
    const Reaper *reaper = context;
    peer_nap(reaper->after);
    if (reaper->killed > 0) {
        CHECK(kill(reaper->killed, SIGKILL) == 0);
    }
    if (reaper->pid > 0) {
        CHECK(waitpid(reaper->pid, NULL, 0) == reaper->pid);
    }
    hp_channel_abandon(reaper->channel);
    hp_channel_abandon(reaper->channel);
    return NULL;
}

static pthread_t start_reaper(Reaper *reaper) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reap, reaper) == 0);
    return thread;
}

static void call_reaped(const Case *each, hp_channel *channel, Peer *peer) {
    Reaper reaper = {.channel = channel, .pid = peer->pid};
    hp_answer answer;
    const pthread_t thread = start_reaper(&reaper);
    call_once(each, channel, peer);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(call(channel, 0, &answer) == UNSENT && hp_channel_is_gone(channel));
    peer->pid = 0;
}

/* Calls a good worker until another thread abandons the channel after `after` microseconds, and kills the worker before if told to. */
static void call_until_gone(const Case *each, bool in_thread, long after, bool kills) {
    int error;
    hp_answer answer;
    unsigned found = GOOD;
    hp_channel *channel = hp_channel_open(HALF, HALF, &error);
    CHECK(channel != NULL);
    Peer peer = {.half = HALF, .in_thread = in_thread, .fd = hp_channel_fd(channel)};
    peer_start(&peer);
    Reaper reaper = {channel, after, kills ? peer.pid : 0, kills ? peer.pid : 0};
    const pthread_t thread = start_reaper(&reaper);
    while (found == GOOD) {
        found = call(channel, 0, &answer);
        check_allowed(each, found);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    hp_channel_close(channel);
    peer.pid = kills ? 0 : peer.pid;
    peer_stop(&peer);
}

static void call_killed(const Case *each, hp_channel *channel, Peer *peer) {
    (void)channel;
    (void)peer;
    for (int round = 0; round < 60; round++) {
        call_until_gone(each, false, round * 20, true);
    }
}

static void call_abandoned(const Case *each, hp_channel *channel, Peer *peer) {
    (void)channel;
    for (int round = 0; round < 100; round++) {
        call_until_gone(each, peer->in_thread, round * 5, false);
    }
}

/* While it waits for an answer that does not come. */
static void call_abandoned_later(const Case *each, hp_channel *channel, Peer *peer) {
    Reaper reaper = {.channel = channel, .after = 20000};
    const pthread_t thread = start_reaper(&reaper);
    call_once(each, channel, peer);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void call_abandoned_before(const Case *each, hp_channel *channel, Peer *peer) {
    hp_channel_abandon(channel);
    call_once(each, channel, peer);
}

static void ignore(int number) {
    (void)number;
}

/* Ten thousand signals a second: each ends a sleep, and none counts as a wake without an answer. */
static void call_under_signals(const Case *each, hp_channel *channel, Peer *peer) {
    const struct sigaction action = {.sa_handler = ignore};
    const struct itimerspec often = {{0, MS / 10}, {0, MS / 10}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);
    call_once(each, channel, peer);
    CHECK(timer_delete(timer) == 0);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

#define DEADLINE .deadline_ms = 150, .least_ms = 150, .most_ms = 150 + SLACK_MS
#define NO_ROOM ((int64_t)HALF - (int64_t)sizeof(Reply))

static const Case cases[] = {
    {"word-garbage", put_word, WORD, .value = 0xDEADBEEF},
    {"word-all-ones", put_word, WORD, .value = 0xFFFFFFFF},
    {"word-stale", put_beside_answer, WORD, .value = -4, .good = 3},
    {"word-ahead", put_beside_answer, WORD, .value = 2},
    {"word-far-ahead", put_beside_answer, WORD, .value = INT_MIN},
    {"word-of-the-answer-with-waiting", put_beside_answer, WORD, .value = CHANNEL_WAITING},
    {"word-of-the-answer-before", put_beside_answer, LATE, .value = -2, .good = 1, DEADLINE},
    {"word-waiting-by-the-worker", put_beside_answer, LATE, .value = -2 + CHANNEL_WAITING, .good = 1, DEADLINE},
    {"word-zero-again", put_word, WORD, .value = 0, .good = 1},
    {"answer-twice", answer_twice, GOOD, .host = call_twice},
    {"answer-before-asked", answer_before_asked, GOOD | WORD, .host = call_ahead},
    {"answer-without-wake", answer_without_wake, GOOD, .most_ms = 100 + SLACK_MS},
    {"silent", do_nothing, LATE, DEADLINE},
    {"silent-under-signals", do_nothing, LATE, .host = call_under_signals, DEADLINE},
    {"deadline-in-the-past", do_nothing, LATE, .deadline_ms = -1000, .most_ms = SLACK_MS},
    {"wake-storm", storm, WAKES, .value = 1, .most_ms = 5000},
    {"wake-storm-with-deadline", storm, WAKES | LATE, .value = 1, .deadline_ms = 150, .most_ms = 150 + SLACK_MS},
    {"wake-slowly", storm, LATE, .value = 1000, DEADLINE},
    {"waiting-toggled", toggle_waiting, WAKES, .most_ms = 5000},
    {"waiting-cleared", clear_waiting, WAKES | LATE, .deadline_ms = 300, .most_ms = 300 + SLACK_MS},
    {"flags-next-bit", answer_flags, FLAGS, .value = REPLY_FLAGS + 1},
    {"flags-highest-bit", answer_flags, FLAGS, .value = 0x80000000},
    {"flags-all", answer_flags, FLAGS, .value = 0xFFFFFFFF},
    {"flags-known", answer_flags, GOOD, .value = REPLY_GROW_REFUSED | REPLY_TAMPERED | REPLY_BAD_STATUS},
    {"status-negative", answer_status, STATUS, .value = -1},
    {"status-lowest", answer_status, STATUS, .value = INT_MIN},
    {"status-highest", answer_status, STATUS, .value = INT_MAX},
    {"status-one-too-high", answer_status, STATUS, .value = 65536},
    {"status-just-in-range", answer_status, GOOD, .value = 65535},
    {"status-free", answer_free_status, GOOD, .value = INT_MIN},
    {"length-all-ones", answer_length, LENGTH, .value = -1},
    {"length-that-overflows", answer_length, LENGTH, .value = -(int64_t)sizeof(Reply)},
    {"length-one-beyond-the-half", answer_length, LENGTH, .value = NO_ROOM + 1},
    {"length-one-beyond-the-room", answer_length, LENGTH, .value = 1001, .room = 1000},
    {"length-of-the-room", answer_length, GOOD, .value = 1000, .room = 1000},
    {"length-too-long-and-not", answer_too_long, LENGTH, .value = 100},
    {"length-too-long", answer_too_long, GOOD, .value = 99},
    {"holes", answer_length, HOLES, .value = 4000000000, .half = 1ll << 32, .host = check_blocks},
    {"holes-in-what-is-mapped", answer_length, GOOD, .value = 1 << 20},
    {"times-that-steer-the-spin", answer_with_times, GOOD, .deadline_ms = 10000, .host = call_many},
    {"length-changed", change, GOOD | LENGTH, .value = CHANGE_LENGTH, .host = answer_again_and_again},
    {"flags-changed", change, GOOD | FLAGS | LENGTH, .value = CHANGE_FLAGS, .host = answer_again_and_again},
    {"status-changed", change, GOOD | STATUS, .value = CHANGE_STATUS, .host = answer_again_and_again},
    {"all-changed", change, GOOD | FLAGS | LENGTH | STATUS, .value = CHANGE_ALL, .host = answer_again_and_again},
    {"text-changed", change, GOOD, .value = CHANGE_TEXT, .host = answer_again_and_again},
    {"large-text-changed", answer_large, GOOD, .host = answer_again_and_again},
    {"size-changed", change_size, GOOD, .host = check_refusals},
    {"holes-punched-everywhere", punch_everything, WORD, .good = 1},
    {"holes-punched-under-the-reader", punch_on, GOOD | HOLES | LATE, .host = answer_again_and_again, .deadline_ms = 2000},
    {"request-scribbled", scribble, LATE | WORD, .host = send_and_read_back},
    {"hang-up-ignored", do_nothing, LATE, DEADLINE},
    {"killed-when-asked", die, GONE, .value = DIES_ASKED, .host = call_reaped, .kills = true, .most_ms = SLACK_MS},
    {"killed-when-writing", die, GONE, .value = DIES_WRITING, .host = call_reaped, .kills = true, .most_ms = SLACK_MS},
    {"killed-when-written", die, GONE, .value = DIES_WRITTEN, .host = call_reaped, .kills = true, .most_ms = SLACK_MS},
    {"killed-when-answered", die, GONE | GOOD, .value = DIES_ANSWERED, .host = call_reaped, .kills = true},
    {"killed-when-woken", die, GONE | GOOD, .value = DIES_WAKING, .host = call_reaped, .kills = true},
    {"killed-at-any-moment", NULL, GOOD | GONE | UNSENT, .host = call_killed, .kills = true},
    {"abandoned-at-any-moment", NULL, GOOD | GONE | UNSENT, .host = call_abandoned},
    {"abandoned-before", NULL, UNSENT, .host = call_abandoned_before},
    {"abandoned-asleep", do_nothing, GONE, .host = call_abandoned_later, .least_ms = 19, .most_ms = 95},
    {"abandoned-in-a-storm", storm, GONE, .value = 500, .host = call_abandoned_later, .most_ms = SLACK_MS},
    {"abandoned-and-overwritten", clear_waiting, GONE | WAKES, .host = call_abandoned_later, .most_ms = 130 + SLACK_MS},
};

static int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static int count_mappings(void) {
    int count = 0;
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, "memfd:hardpoint") != NULL;
    }
    fclose(maps);
    return count;
}

static void run(const Case *each, bool in_thread) {
    const int descriptors = count_descriptors();
    const uint64_t half = each->half == 0 ? HALF : (uint64_t)each->half;
    int error;
    hp_channel *channel = hp_channel_open(half, each->room == 0 ? half : (uint64_t)each->room, &error);
    CHECK(channel != NULL);
    Peer peer = {.act = each->act, .value = each->value, .good = each->good, .half = half, .in_thread = in_thread};
    peer.fd = hp_channel_fd(channel);
    peer_start(&peer);
    (each->host == NULL ? call_once : each->host)(each, channel, &peer);
    hp_channel_trim(channel);
    hp_channel_close(channel); /* it does not wait for a worker that goes on */
    peer_stop(&peer);
    CHECK(count_descriptors() == descriptors);
    CHECK(count_mappings() == 0);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "list";
    const bool in_thread = argc > 2 && strcmp(argv[2], "thread") == 0;
    alarm(60); /* whatever hangs is ended, and the test fails */
    for (size_t index = 0; index < sizeof cases / sizeof cases[0]; index++) {
        const Case *each = &cases[index];
        if (strcmp(name, "list") == 0) {
            printf("%s%s\n", each->name, each->kills ? " kills" : "");
        } else if (strcmp(name, each->name) == 0) {
            run(each, in_thread);
            return 0;
        }
    }
    return strcmp(name, "list") == 0 ? 0 : 2;
}
