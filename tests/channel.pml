/* The wake protocol of a channel (src/hardpoint/isolation/channel/_channel.h), for spin: a host that calls CALLS times, a worker that may
 * die at any moment, and a thread of the host that abandons the channel when it hears of that, or at any moment of its own.
 *
 * A word is a sequence and a WAITING bit. Each statement is one access to memory or one system call, and spin tries every order of them.
 * There are neither slices of 100 ms nor signals, which would make up for a wake-up that is lost. Memory is sequentially consistent here;
 * the protocol relies on the order of accesses to each word, and on release and acquire for what lies beside it.
 *
 * Faults that spin must find:
 * -DBROKEN=1 who publishes reads WAITING, and then stores the word
 * -DBROKEN=2 who waits sleeps without comparing the word
 * -DBROKEN=3 who abandons wakes, and leaves the word as it was
 * -DBROKEN=4 the answer is published before it is written
 */
#ifndef CALLS
#define CALLS 4
#endif
#ifndef BROKEN
#define BROKEN 0
#endif

typedef Word {
    byte sequence;
    bool waiting;
    bool asleep /* its reader is in the futex's queue */
};

Word request, reply;
byte asked, answered; /* beside the words: what is asked, and answered */
byte sent;            /* of the host: the sequence of the last request */
byte served;          /* of the worker: the sequence of the last answer */
bool gone;            /* the channel is abandoned */
bool dead;            /* the worker has died */
bool finished;        /* the host makes no more calls, and the worker is killed */

/* Exchanges the word, and wakes its reader if that waits. */
inline publish(word, value) {
#if BROKEN == 1
    saw = word.waiting;
    d_step { word.sequence = value; word.waiting = false };
#else
    d_step { saw = word.waiting; word.sequence = value; word.waiting = false };
#endif
    if
    :: saw -> word.asleep = false
    :: else
    fi
}

/* Sets WAITING if the word is still `before`, and sleeps if it is so even then. */
inline wait(word, before) {
    d_step {
        set = (word.sequence == before);
        if
        :: set -> word.waiting = true
        :: else
        fi
    };
    if
    :: set ->
#if BROKEN == 2
        word.asleep = true;
#else
        d_step {
            if
            :: word.sequence == before && word.waiting -> word.asleep = true
            :: else
            fi
        };
#endif
        !word.asleep || finished
    :: else
    fi
}

active proctype Host() {
    bool set, saw;
    byte seen;
    do
    :: sent == CALLS || gone -> break
    :: sent < CALLS && !gone ->
        asked = sent + 1;
        sent++;
        publish(request, sent);
        do
        :: seen = reply.sequence;
            if
            :: seen == sent ->
                assert(answered == sent);
                break
            :: seen != sent && gone -> break
            :: seen != sent && !gone ->
                assert(seen == sent - 1); /* else it would be called malformed */
                wait(reply, sent - 1)
            fi
        od
    od;
    finished = true
}

active proctype Worker() {
    bool set, saw;
    byte seen;
    do
    :: finished -> break
    :: dead = true; break
    :: seen = request.sequence;
        if
        :: seen == served -> wait(request, served)
        :: seen != served ->
            assert(seen == served + 1 && asked == seen); /* none is left out, and none comes twice */
#if BROKEN == 4
            served++;
            publish(reply, served);
            answered = served
#else
            answered = asked;
            if
            :: dead = true; break
            :: served++
            fi;
            publish(reply, served)
#endif
        fi
    od
}

active proctype Abandoner() {
    bool saw;
    byte mark;
    if /* chosen for good at its first step, or fairness would have it make up for every lost wake-up */
    :: true -> dead || finished /* it hears of the end */
    :: true                     /* close or reload in another thread, at any moment */
    fi;
    gone = true;
    mark = sent + 2; /* neither the word before nor the answer's, not even if the host sends one request more */
#if BROKEN != 3
    d_step { saw = reply.waiting; reply.sequence = mark; reply.waiting = false };
#endif
    reply.asleep = false
}

ltl host_finishes { <> finished }
ltl host_is_woken { [] ((reply.asleep && reply.sequence != sent - 1) -> <> !reply.asleep) }
ltl worker_is_woken { [] ((request.asleep && request.sequence != served) -> <> (!request.asleep || finished)) }
