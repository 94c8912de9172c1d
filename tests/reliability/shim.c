/* Records, fails or interrupts the file operations of one process below a root folder.
 *
 * Loaded with LD_PRELOAD. Every wrapper makes the system call itself, so no symbol of the C
 * library has to be looked up. Functions named shim_* are called from the process through ctypes.
 * Files whose names end in "-shm" are left out: SQLite maps them, and they are a cache.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define HANDLES 4096

/* Kinds of operations in the log; shim.py has the same numbers. */
enum {
    OPEN = 1, WRITE, TRUNCATE, SYNC, RENAME, EXCHANGE, UNLINK, MKDIR, RMDIR, CLOSE, MARK,
};
/* Classes of operations that count. */
enum { CHANGES = 1, SYNCS = 2, OPENS = 4, READS = 8 };
/* What happens at the chosen operation. */
enum { NOTHING = 0, FAIL, FAIL_ON, KILL_BEFORE, KILL_AFTER, KILL_HALF, SHORT };

static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static int skip_sync;
static int action, action_errno, classes;
static long chosen, counted, hits, last_kind;
static int64_t serial, handles[HANDLES]; /* handle -> serial of its open, 0 for others */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static long raw_write(int fd, const void *data, size_t size) {
    return syscall(SYS_write, fd, data, size);
}

static void write_all(const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        long done = raw_write(log_file, at, size);
        if (done <= 0) abort();
        at += done;
        size -= (size_t)done;
    }
}

static void record(int kind, int64_t handle, int64_t offset, const char *first,
                   const char *second, const void *data, size_t size) {
    if (log_file < 0) return;
    int saved = errno;
    int64_t head[6] = {kind, handle, offset, first ? (int64_t)strlen(first) : 0,
                       second ? (int64_t)strlen(second) : 0, (int64_t)size};
    write_all(head, sizeof head);
    if (first) write_all(first, (size_t)head[3]);
    if (second) write_all(second, (size_t)head[4]);
    if (size) write_all(data, size);
    errno = saved;
}

static int below_root(const char *path) {
    if (root_length == 0 || strncmp(path, root, root_length) != 0) return 0;
    if (path[root_length] != '/' && path[root_length] != 0) return 0;
    size_t length = strlen(path);
    return !(length > 4 && strcmp(path + length - 4, "-shm") == 0);
}

/* Writes the whole path to out; returns whether it lies below the root. */
static int resolve(int folder, const char *path, char *out) {
    if (root_length == 0 || path == NULL) return 0;
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return 0;
        strcpy(out, path);
    } else {
        char link[64];
        if (folder == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        long length = syscall(SYS_readlink, link, out, PATH_MAX - 1);
        if (length < 0 || (size_t)length + strlen(path) + 2 >= PATH_MAX) return 0;
        out[length] = '/';
        strcpy(out + length + 1, path);
    }
    return below_root(out);
}

static int64_t serial_of(int fd) { return fd >= 0 && fd < HANDLES ? handles[fd] : 0; }

/* Counts an operation; returns the action if it is the chosen one, with the kill before it done. */
static int count(int class, int kind) {
    if (!(class & classes)) return NOTHING;
    counted++;
    int matches = counted == chosen || (action == FAIL_ON && counted >= chosen && chosen > 0);
    if (!matches || action == NOTHING) return NOTHING;
    hits++;
    last_kind = kind;
    if (action == KILL_BEFORE) syscall(SYS_kill, getpid(), SIGKILL);
    return action;
}

static int failing(int what) { return what == FAIL || what == FAIL_ON; }

static void finish(int what) {
    if (what == KILL_AFTER || what == KILL_HALF) syscall(SYS_kill, getpid(), SIGKILL);
}

static int refuse(void) {
    errno = action_errno;
    return -1;
}

/* Called through ctypes. */

void shim_root(const char *path) {
    root_length = strlen(path);
    if (root_length >= PATH_MAX) abort();
    strcpy(root, path);
    memset(handles, 0, sizeof handles);
}

int shim_record(const char *path) {
    if (log_file >= 0) syscall(SYS_close, log_file);
    log_file = -1;
    if (path == NULL) return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                          O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    log_file = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, HANDLES);
    if (log_file < 0) log_file = fd;
    else syscall(SYS_close, fd);
    return 0;
}

void shim_mark(const char *text) {
    pthread_mutex_lock(&turn);
    record(MARK, 0, 0, text, NULL, NULL, 0);
    pthread_mutex_unlock(&turn);
}

void shim_arm(int what, long at, int error, int which) {
    action = what;
    chosen = at;
    action_errno = error;
    classes = which;
    counted = hits = last_kind = 0;
}

void shim_disarm(void) { action = NOTHING; }
void shim_skip_sync(int skip) { skip_sync = skip; }
long shim_counted(void) { return counted; }
long shim_hits(void) { return hits; }
long shim_last_kind(void) { return last_kind; }

/* The wrappers. */

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX];
    if (!resolve(folder, path, full)) {
        int other = (int)syscall(SYS_openat, folder, path, flags, mode);
        if (other >= 0 && other < HANDLES) handles[other] = 0;
        return other;
    }
    pthread_mutex_lock(&turn);
    int changes = (flags & O_TRUNC) != 0;
    if (flags & O_CREAT) changes |= syscall(SYS_faccessat, folder, path, F_OK) != 0;
    int saved = errno;
    int what = count(changes ? CHANGES | OPENS : OPENS, OPEN);
    int fd;
    if (failing(what) || what == SHORT) {
        fd = refuse();
    } else {
        errno = saved;
        fd = (int)syscall(SYS_openat, folder, path, flags, mode);
        if (fd >= 0 && fd < HANDLES) {
            handles[fd] = ++serial;
            record(OPEN, serial, flags & (O_CREAT | O_TRUNC), full, NULL, NULL, 0);
        }
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return fd;
}

static mode_t mode_of(int flags, va_list arguments) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

#define OPENER(name)                                      \
    int name(const char *path, int flags, ...) {          \
        va_list arguments;                                \
        va_start(arguments, flags);                       \
        mode_t mode = mode_of(flags, arguments);          \
        va_end(arguments);                                \
        return open_at(AT_FDCWD, path, flags, mode);      \
    }
#define OPENER_AT(name)                                          \
    int name(int folder, const char *path, int flags, ...) {     \
        va_list arguments;                                       \
        va_start(arguments, flags);                              \
        mode_t mode = mode_of(flags, arguments);                 \
        va_end(arguments);                                       \
        return open_at(folder, path, flags, mode);               \
    }
OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)

int creat(const char *path, mode_t mode) {
    return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd) {
    pthread_mutex_lock(&turn);
    if (serial_of(fd)) {
        record(CLOSE, handles[fd], 0, NULL, NULL, NULL, 0);
        handles[fd] = 0;
    }
    int done = (int)syscall(SYS_close, fd);
    pthread_mutex_unlock(&turn);
    return done;
}

/* Writes at an offset, or at the file's position for a negative one. */
static ssize_t write_at(int fd, const void *data, size_t size, off_t offset) {
    if (!serial_of(fd)) {
        if (offset < 0) return raw_write(fd, data, size);
        return syscall(SYS_pwrite64, fd, data, size, offset);
    }
    pthread_mutex_lock(&turn);
    int what = count(CHANGES, WRITE);
    ssize_t done;
    if (failing(what)) {
        done = refuse();
    } else {
        size_t part = what == KILL_HALF || what == SHORT ? size / 2 : size;
        if (what == SHORT && part == 0) {
            done = refuse();
        } else {
            off_t at = offset;
            if (at < 0) {
                long flags = syscall(SYS_fcntl, fd, F_GETFL);
                at = syscall(SYS_lseek, fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
            }
            done = offset < 0 ? raw_write(fd, data, part)
                              : syscall(SYS_pwrite64, fd, data, part, offset);
            if (done > 0) record(WRITE, handles[fd], at, NULL, NULL, data, (size_t)done);
            if (what == SHORT) { /* the rest finds no space */
                action = FAIL_ON;
                chosen = counted + 1;
            }
        }
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return write_at(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return write_at(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return write_at(fd, data, size, offset);
}

static ssize_t write_vector(int fd, const struct iovec *parts, int number, off_t offset) {
    size_t size = 0, at = 0;
    for (int i = 0; i < number; i++) size += parts[i].iov_len;
    char *data = malloc(size ? size : 1);
    if (data == NULL) abort();
    for (int i = 0; i < number; i++) {
        memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    ssize_t done = write_at(fd, data, size, offset);
    free(data);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    if (!serial_of(fd)) return syscall(SYS_writev, fd, parts, number);
    return write_vector(fd, parts, number, -1);
}
ssize_t pwritev(int fd, const struct iovec *parts, int number, off_t offset) {
    return write_vector(fd, parts, number, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int number, off64_t offset) {
    return write_vector(fd, parts, number, offset);
}

static int truncate_to(int fd, off_t size) {
    if (!serial_of(fd)) return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&turn);
    int what = count(CHANGES, TRUNCATE), done;
    if (failing(what) || what == SHORT) {
        done = refuse();
    } else {
        done = (int)syscall(SYS_ftruncate, fd, size);
        if (done == 0) record(TRUNCATE, handles[fd], size, NULL, NULL, NULL, 0);
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return done;
}
int ftruncate(int fd, off_t size) { return truncate_to(fd, size); }
int ftruncate64(int fd, off64_t size) { return truncate_to(fd, size); }

static int allocate(int fd) {
    return serial_of(fd) ? EOPNOTSUPP : 0; /* callers then write, which is recorded */
}
int fallocate(int fd, int mode, off_t offset, off_t size) {
    if (allocate(fd)) { errno = EOPNOTSUPP; return -1; }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    return fallocate(fd, mode, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) {
    if (allocate(fd)) return EOPNOTSUPP;
    return syscall(SYS_fallocate, fd, 0, offset, size) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    return posix_fallocate(fd, offset, size);
}

static int sync_file(int fd, int number) {
    if (!serial_of(fd)) return (int)syscall(number, fd);
    pthread_mutex_lock(&turn);
    int what = count(SYNCS, SYNC), done;
    if (failing(what) || what == SHORT) {
        done = refuse();
    } else {
        done = skip_sync ? 0 : (int)syscall(number, fd);
        if (done == 0) record(SYNC, handles[fd], 0, NULL, NULL, NULL, 0);
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return done;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

int renameat2(int old_folder, const char *old, int new_folder, const char *new,
              unsigned int flags) {
    char from[PATH_MAX], to[PATH_MAX];
    int inside = resolve(old_folder, old, from);
    inside |= resolve(new_folder, new, to);
    if (!inside)
        return (int)syscall(SYS_renameat2, old_folder, old, new_folder, new, flags);
    pthread_mutex_lock(&turn);
    int kind = flags & RENAME_EXCHANGE ? EXCHANGE : RENAME;
    int what = count(CHANGES, kind), done;
    if (failing(what) || what == SHORT) {
        done = refuse();
    } else {
        done = (int)syscall(SYS_renameat2, old_folder, old, new_folder, new, flags);
        if (done == 0) record(kind, 0, 0, from, to, NULL, 0);
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return done;
}
int renameat(int old_folder, const char *old, int new_folder, const char *new) {
    return renameat2(old_folder, old, new_folder, new, 0);
}
int rename(const char *old, const char *new) {
    return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int unlinkat(int folder, const char *path, int flags) {
    char full[PATH_MAX];
    if (!resolve(folder, path, full)) return (int)syscall(SYS_unlinkat, folder, path, flags);
    pthread_mutex_lock(&turn);
    int kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    int what = count(CHANGES, kind), done;
    if (failing(what) || what == SHORT) {
        done = refuse();
    } else {
        done = (int)syscall(SYS_unlinkat, folder, path, flags);
        if (done == 0) record(kind, 0, 0, full, NULL, NULL, 0);
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int folder, const char *path, mode_t mode) {
    char full[PATH_MAX];
    if (!resolve(folder, path, full)) return (int)syscall(SYS_mkdirat, folder, path, mode);
    pthread_mutex_lock(&turn);
    int what = count(CHANGES, MKDIR), done;
    if (failing(what) || what == SHORT) {
        done = refuse();
    } else {
        done = (int)syscall(SYS_mkdirat, folder, path, mode);
        if (done == 0) record(MKDIR, 0, 0, full, NULL, NULL, 0);
        finish(what);
    }
    pthread_mutex_unlock(&turn);
    return done;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* Python's copies go back to read and write where these are not supported. */
ssize_t sendfile(int out, int in, off_t *offset, size_t size) {
    if (serial_of(out)) { errno = ENOSYS; return -1; }
    return syscall(SYS_sendfile, out, in, offset, size);
}
ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) {
    return sendfile(out, in, offset, size);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size,
                        unsigned int flags) {
    if (serial_of(out)) { errno = ENOSYS; return -1; }
    return syscall(SYS_copy_file_range, in, from, out, to, size, flags);
}

/* Reads fail only where the class READS is chosen. */
static int read_fails(int fd) {
    if (!(classes & READS) || !serial_of(fd)) return 0;
    pthread_mutex_lock(&turn);
    int what = count(READS, 0);
    pthread_mutex_unlock(&turn);
    return failing(what);
}
ssize_t read(int fd, void *data, size_t size) {
    if (read_fails(fd)) return refuse();
    return syscall(SYS_read, fd, data, size);
}
ssize_t pread(int fd, void *data, size_t size, off_t offset) {
    if (read_fails(fd)) return refuse();
    return syscall(SYS_pread64, fd, data, size, offset);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
    return pread(fd, data, size, offset);
}
void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && read_fails(fd)) {
        errno = action_errno;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset) {
    return mmap(at, size, protection, flags, fd, offset);
}
