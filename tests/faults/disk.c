/* A disk that remembers, and one that fails: preloaded into the program under test (LD_PRELOAD).
 *
 * Everything below the folder DISK_ROOT goes through it; the rest passes untouched. What a test asks for:
 *
 *   DISK_LOG=FILE          every change, flush and name is appended to FILE, in the order in which it
 *                          happened, so that the test can work out what a loss of power may leave
 *   DISK_FAIL=OP:N:ERRNO   the N-th OP (sync, write) below the root fails; N+ means it and all after it
 *   DISK_MATCH=TEXT        only names with this in them fail
 *   CLOCK_FILE=FILE        eight bytes, read at each look: seconds that the wall clock is ahead
 *
 * Records of the log: kind (1 byte), inode (8), offset (8), length (8), then `length` bytes. Kinds:
 * 'c' a name was created, 'm' a folder, 'r' renamed or 'l' linked (both names, NUL between), 'u' removed (bytes: names),
 * 'w' written (bytes: data), 't' cut or grown to `offset`, 's' flushed, 'a' a line of standard output.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static const char *match;
static char failing_op[16];
static long fail_at = -1, seen;
static int fail_on, fail_errno;
static volatile const int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("DISK_ROOT");
    if (text != NULL && realpath(text, root) != NULL) root_length = strlen(root);
    text = getenv("DISK_LOG");
    if (text != NULL) log_fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    match = getenv("DISK_MATCH");
    text = getenv("DISK_FAIL");
    if (text != NULL) {
        char plus = 0;
        if (sscanf(text, "%15[a-z]:%ld%c", failing_op, &fail_at, &plus) >= 2) fail_on = plus == '+';
        const char *last = strrchr(text, ':');
        fail_errno = last != NULL ? atoi(last + 1) : EIO;
    }
    text = getenv("CLOCK_FILE");
    if (text != NULL) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_RDONLY | O_CLOEXEC, 0);
        void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
        if (page != MAP_FAILED) ahead = page;
        if (fd >= 0) syscall(SYS_close, fd);
    }
}

static int below(const char *path) {
    return root_length > 0 && strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == 0);
}

/* The name of an open file, if it lies below the root. */
static int named(int fd, char *name) {
    char link[64];
    if (root_length == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    if (length <= 0) return 0;
    name[length] = 0;
    return below(name);
}

/* A path as the log names it. The last part need not exist. */
static int placed(const char *path, char *name) {
    char folder[PATH_MAX];
    if (root_length == 0 || path == NULL || strlen(path) >= PATH_MAX) return 0;
    strcpy(folder, path);
    char *slash = strrchr(folder, '/');
    const char *last = slash != NULL ? path + (slash - folder) + 1 : path;
    if (slash == NULL) strcpy(folder, ".");
    else if (slash == folder) folder[1] = 0;
    else *slash = 0;
    char whole[PATH_MAX];
    if (realpath(folder, whole) == NULL) return 0;
    if ((size_t)snprintf(name, PATH_MAX, "%s/%s", whole, last) >= PATH_MAX) return 0;
    return below(name);
}

static void note(char kind, uint64_t inode, uint64_t offset, const void *bytes, uint64_t length) {
    if (log_fd < 0) return;
    unsigned char head[25] = {(unsigned char)kind};
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 8);
    struct iovec both[2] = {{head, sizeof head}, {(void *)bytes, length}};
    syscall(SYS_writev, log_fd, both, 2);
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 ? found.st_ino : 0;
}

/* Whether this operation is the one that fails. Called with the lock held. */
static int fails(const char *op, const char *name) {
    if (fail_at < 0 || strcmp(op, failing_op) != 0) return 0;
    if (match != NULL && strstr(name, match) == NULL) return 0;
    seen++;
    if (seen == fail_at || (fail_on && seen > fail_at)) {
        errno = fail_errno;
        return 1;
    }
    return 0;
}

static void lock(void) { pthread_mutex_lock(&one_at_a_time); }
static void unlock(void) {
    int kept = errno;
    pthread_mutex_unlock(&one_at_a_time);
    errno = kept;
}

static ssize_t put(int fd, const void *data, size_t length, off_t at, int positioned) {
    char name[PATH_MAX];
    if (fd == 1 && log_fd >= 0) {
        lock();
        note('a', 0, 0, data, length);
        ssize_t done = syscall(SYS_write, fd, data, length);
        unlock();
        return done;
    }
    if (!named(fd, name))
        return positioned ? syscall(SYS_pwrite64, fd, data, length, at) : syscall(SYS_write, fd, data, length);
    lock();
    ssize_t done = -1;
    if (!fails("write", name)) {
        off_t from = positioned ? at : lseek(fd, 0, SEEK_CUR);
        done = positioned ? syscall(SYS_pwrite64, fd, data, length, at) : syscall(SYS_write, fd, data, length);
        if (done > 0) note('w', inode_of(fd), (uint64_t)from, data, (uint64_t)done);
    }
    unlock();
    return done;
}

ssize_t write(int fd, const void *data, size_t length) { return put(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return put(fd, data, length, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) { return put(fd, data, length, at, 1); }

static int flush(int fd, long call) {
    char name[PATH_MAX];
    if (!named(fd, name)) return (int)syscall(call, fd);
    lock();
    int done = -1;
    if (!fails("sync", name)) {
        done = (int)syscall(call, fd);
        if (done == 0) note('s', inode_of(fd), 0, name, strlen(name));
    }
    unlock();
    return done;
}

int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }

static int cut(int fd, off_t length) {
    char name[PATH_MAX];
    if (!named(fd, name)) return (int)syscall(SYS_ftruncate, fd, length);
    lock();
    int done = -1;
    if (!fails("write", name)) {
        done = (int)syscall(SYS_ftruncate, fd, length);
        if (done == 0) note('t', inode_of(fd), (uint64_t)length, NULL, 0);
    }
    unlock();
    return done;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut(fd, length); }

static int take(int at, const char *path, int flags, mode_t mode) {
    char name[PATH_MAX];
    struct stat found;
    int ours = (flags & O_CREAT) != 0 && at == AT_FDCWD && placed(path, name);
    if (!ours) return (int)syscall(SYS_openat, at, path, flags, mode);
    lock();
    int was = lstat(name, &found) == 0;
    int fd = -1;
    if (was || !fails("write", name)) {
        fd = (int)syscall(SYS_openat, at, path, flags, mode);
        if (fd >= 0 && !was) note('c', inode_of(fd), 0, name, strlen(name));
        if (fd >= 0 && was && (flags & O_TRUNC) != 0) note('t', inode_of(fd), 0, NULL, 0);
    }
    unlock();
    return fd;
}

#define MODE(flags, last) \
    mode_t mode = 0; \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
        va_list more; \
        va_start(more, last); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }

int open(const char *path, int flags, ...) { MODE(flags, flags) return take(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return take(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, flags) return take(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, flags) return take(at, path, flags, mode); }

static int both(char kind, const char *from, const char *to) {
    char names[2 * PATH_MAX], target[PATH_MAX];
    int ours = placed(from, names) && placed(to, target);
    if (ours) lock();
    int done = kind == 'r' ? (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)
                           : (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (ours && done == 0) {
        size_t length = strlen(names) + 1;
        strcpy(names + length, target);
        note(kind, 0, 0, names, length + strlen(target));
    }
    if (ours) unlock();
    return done;
}

int rename(const char *from, const char *to) { return both('r', from, to); }
int link(const char *from, const char *to) { return both('l', from, to); }
int linkat(int at, const char *from, int at_to, const char *to, int flags) {
    if (at != AT_FDCWD || at_to != AT_FDCWD || flags != 0) return (int)syscall(SYS_linkat, at, from, at_to, to, flags);
    return both('l', from, to);
}

static int gone(const char *path, int flags) {
    char name[PATH_MAX];
    if (!placed(path, name)) return (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    lock();
    int done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    if (done == 0) note('u', 0, 0, name, strlen(name));
    unlock();
    return done;
}

int unlink(const char *path) { return gone(path, 0); }
int rmdir(const char *path) { return gone(path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    char name[PATH_MAX];
    struct stat found;
    if (!placed(path, name)) return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    lock();
    int done = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (done == 0) note('m', stat(name, &found) == 0 ? found.st_ino : 0, 0, name, strlen(name));
    unlock();
    return done;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int done = (int)syscall(SYS_clock_gettime, id, now);
    if (done == 0 && ahead != NULL && id == CLOCK_REALTIME) now->tv_sec += *ahead;
    return done;
}
