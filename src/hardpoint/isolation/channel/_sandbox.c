/* The sandbox that a worker enters before it opens the plugin: limits, files, capabilities, system calls.
 *
 * The worker's only thread enters it, so all later threads are in it. A step that the kernel refuses is reported; the
 * worker continues without it unless the recipe requires all steps.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "_program.h"

/* Landlock (landlock(7)), as headers older than the kernel do not have it; the numbers are those of every machine. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, PATH_BENEATH = 1 };
/* Rights that a file can have: to execute, write, read and truncate it, and ioctl of a device. */
enum { FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15 };
enum { NETWORK_SINCE = 4, SCOPES_SINCE = 6 }; /* versions of its ABI that the attributes grew with */

typedef struct {
    uint64_t files, network, scoped;
} Ruleset;

typedef struct {
    uint64_t rights;
    int32_t parent;
} __attribute__((packed)) Rule;

int limits_apply(const Recipe *recipe) {
    List rows = recipe->limits;
    for (; rows.left > 0; rows.left--) {
        const uint32_t resource = take_u32(&rows);
        const rlim_t soft = take_u64(&rows), hard = take_u64(&rows);
        const struct rlimit limit = {.rlim_cur = soft, .rlim_max = hard};
        if (setrlimit((__rlimit_resource_t)resource, &limit) != 0) {
            return errno;
        }
    }
    return 0;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void allow(long ruleset, uint64_t rights, const char *path) {
    struct stat status;
    Rule rule = {.parent = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent < 0) {
        return; /* a missing file needs no right */
    }
    if (fstat(rule.parent, &status) == 0) {
        rule.rights = S_ISDIR(status.st_mode) ? rights : rights & FILE_RIGHTS;
        syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0);
    }
    close(rule.parent);
}

static void allow_all(const Recipe *recipe, long ruleset) {
    List rules = recipe->rules;
    char path[4096]; /* PATH_MAX; a longer one cannot be opened */
    for (; rules.left > 0; rules.left--) {
        const uint64_t rights = take_u64(&rules);
        const Text text = take_text(&rules);
        if (text.size < sizeof path) {
            memcpy(path, text.data, text.size);
            path[text.size] = '\0';
            allow(ruleset, rights, path);
        }
    }
}

static int confine_files(const Recipe *recipe) {
    const Ruleset attributes = {recipe->handled_files, recipe->handled_network, recipe->scoped};
    const size_t size = recipe->landlock_abi >= SCOPES_SINCE ? 24 : recipe->landlock_abi >= NETWORK_SINCE ? 16 : 8;
    const long ruleset = syscall(CREATE_RULESET, &attributes, size, 0);
    if (ruleset < 0) {
        return errno;
    }
    allow_all(recipe, ruleset);
    const int error = syscall(RESTRICT_SELF, ruleset, 0) == 0 ? 0 : errno;
    close((int)ruleset);
    return error;
}

/* ---- capabilities ------------------------------------------------------------------------------------------------ */

/* Keeps those of the mask; 1 if there were others. */
static int drop_capabilities(uint32_t kept) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct had[2] = {{0, 0, 0}, {0, 0, 0}}, have[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &head, had);
    have[0].effective = had[0].effective & kept;
    have[0].permitted = had[0].permitted & kept;
    if (memcmp(had, have, sizeof had) == 0) {
        return 0;
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &head, have) == 0;
}

/* ---- system calls ------------------------------------------------------------------------------------------------ */

/* Puts the pid where the program has its placeholder, and installs it. */
static int confine_calls(const Recipe *recipe) {
    const uint32_t pid = (uint32_t)getpid();
    for (uint32_t at = 0; at + sizeof(struct sock_filter) <= recipe->bpf.size; at += sizeof(struct sock_filter)) {
        char *operand = recipe->bpf.data + at + offsetof(struct sock_filter, k);
        if (memcmp(operand, &recipe->placeholder, sizeof pid) == 0) {
            memcpy(operand, &pid, sizeof pid);
        }
    }
    const struct sock_fprog program = {.len = (unsigned short)(recipe->bpf.size / sizeof(struct sock_filter)),
                                       .filter = (struct sock_filter *)(void *)recipe->bpf.data};
    const long failed = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    return failed == 0 ? 0 : failed > 0 ? EBUSY : errno; /* above 0: a thread that has another filter */
}

bool sandbox_apply(const Recipe *recipe, Applied *applied) {
    if ((recipe->flags & RECIPE_SANDBOX) == 0) {
        return true;
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (recipe->landlock_abi > 0) {
        applied->landlock_errno = confine_files(recipe);
        applied->applied |= applied->landlock_errno == 0 ? APPLIED_LANDLOCK : 0;
    }
    applied->applied |= drop_capabilities(recipe->capabilities) ? APPLIED_CAPABILITIES : 0;
    if (recipe->bpf.size > 0) {
        applied->seccomp_errno = confine_calls(recipe);
        applied->applied |= applied->seccomp_errno == 0 ? APPLIED_SECCOMP : 0;
    }
    const uint32_t all = APPLIED_LANDLOCK | APPLIED_SECCOMP;
    return (recipe->flags & RECIPE_REQUIRED) == 0 || (applied->applied & all) == all;
}
