/* A disk that fails: preloaded into a test, it stands before the calls that write to files beneath
 * the folder FAULT_FOLDER.
 *
 * FAULT_AT=n        the n-th call fails with EIO; a write leaves half of what it should write
 * FAULT_ONWARDS=1   and so do all after it
 * FAULT_KILL=1      instead of failing, the call kills the process
 * FAULT_FULL=path   while that file is there, writes fail with ENOSPC
 * FAULT_DIRTY=1     the files hold what a former process wrote and did not sync
 *
 * When a call fails for the first time, the file FAULT_FOLDER.struck is made beside the folder.
 *
 * It also watches the order of things. If the process says "acknowledged" while the write-ahead
 * log is not synced, or begins that log anew while the database is not, FAULT_FOLDER.unsynced is
 * made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum file { OTHER, DATABASE, WAL, FILES };

static int calls;
/* Whether a file has been written to since it was last synced. */
static int dirty[FILES];

__attribute__((constructor)) static void begin(void) {
    dirty[DATABASE] = dirty[WAL] = getenv("FAULT_DIRTY") != NULL;
}

static void leave_mark(const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s.%s", getenv("FAULT_FOLDER"), name);
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcmp(path + length - tail, end) == 0;
}

/* Whether a file is beneath the folder; says which one. */
static int ours(int fd, enum file *file) {
    const char *folder = getenv("FAULT_FOLDER");
    char link[64], path[4096];
    ssize_t length;
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    *file = ends_with(path, ".db") ? DATABASE : ends_with(path, ".db-wal") ? WAL : OTHER;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* The error that this call must fail with, or 0. */
static int strike(int writes) {
    const char *full = getenv("FAULT_FULL");
    const char *at = getenv("FAULT_AT");
    int call;
    if (full && writes && access(full, F_OK) == 0) return ENOSPC;
    if (!at) return 0;
    call = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (call < atoi(at) || (call > atoi(at) && !getenv("FAULT_ONWARDS"))) return 0;
    leave_mark("struck");
    return EIO;
}

static int fail(int error) {
    if (getenv("FAULT_KILL")) raise(SIGKILL);
    errno = error;
    return -1;
}

/* The real function behind one of ours. */
static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ssize_t (*next)(int, const void *, size_t, off64_t) = real("pwrite64");
    enum file file;
    int error;
    if (!ours(fd, &file)) return next(fd, bytes, count, at);
    if (file == WAL && at == 0 && dirty[DATABASE]) leave_mark("unsynced");
    dirty[file] = 1;
    error = strike(1);
    if (!error) return next(fd, bytes, count, at);
    if (error == EIO) next(fd, bytes, count / 2, at);
    return fail(error);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return pwrite64(fd, bytes, count, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*next)(int, const void *, size_t) = real("write");
    enum file file;
    int error;
    if (fd == 1 && dirty[WAL] && memmem(bytes, count, "acknowledged", 12)) leave_mark("unsynced");
    if (!ours(fd, &file)) return next(fd, bytes, count);
    dirty[file] = 1;
    error = strike(1);
    if (!error) return next(fd, bytes, count);
    if (error == EIO) next(fd, bytes, count / 2);
    return fail(error);
}

/* Syncs by the function `name`. */
static int sync_by(const char *name, int fd) {
    int (*next)(int) = real(name);
    enum file file;
    int error;
    if (!ours(fd, &file)) return next(fd);
    error = strike(0);
    if (error) return fail(error);
    dirty[file] = 0;
    return next(fd);
}

int fsync(int fd) {
    return sync_by("fsync", fd);
}

int fdatasync(int fd) {
    return sync_by("fdatasync", fd);
}

int ftruncate64(int fd, off64_t length) {
    int (*next)(int, off64_t) = real("ftruncate64");
    enum file file;
    int error;
    if (!ours(fd, &file)) return next(fd, length);
    if (file == WAL && length == 0 && dirty[DATABASE]) leave_mark("unsynced");
    dirty[file] = 1;
    error = strike(0);
    return error ? fail(error) : next(fd, length);
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}
