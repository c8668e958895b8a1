/*
 * A disk that can be looked at and made to fail: loaded into the server by LD_PRELOAD.
 *
 *   SHIM_DIR      the folder whose files are watched, and those of folders in it, as an absolute path
 *                 without links
 *   SHIM_JOURNAL  where all that is done to them is written down, in one order; others may append
 *                 records of their own ('A') to it, in one write each
 *   SHIM_RULES    a file of rules, one a line, read anew at each call:  OP[@SUFFIX]:NTH:WHAT[:TIMES]
 *
 *     OP      open write read truncate sync unlink
 *     SUFFIX  of the path: chat.db -wal
 *     NTH     the first call that it is for, counted from when the rules changed
 *     WHAT    EIO ENOSPC  the call fails, and does nothing
 *             short       write: half of it, which is the result
 *             die         write: half of it, and the process is killed there
 *             drop        sync: EIO, and what was written since the last one never reaches the disk
 *             lie         sync: a success that has done nothing
 *             lazy        sync: it is done when another file is written, as synchronous=NORMAL does;
 *                         but after its first byte was written at once, as that does with a log's head
 *             sleep=MS    the call is done after so long; while it waits there is a file that is
 *                         named as that of the rules, with .asleep behind it
 *     TIMES   how many calls it is for, 1 if left out; * for all that follow
 *
 * With a journal, a sync is written down and not done: what it would have made safe, the reader of
 * the journal knows.
 *
 * What is not modelled: -shm and what is mapped (a log is read anew after a crash); dup, sendfile,
 * fallocate, O_DIRECT, writev; several processes at once; symbolic links; a sync that one file's
 * writes get from another file's. After `drop` the process still reads what it wrote, as on ext4. That a drive
 * alters what it was not asked to write is not this file's subject, but that of `rot.rs`.
 *
 * Invariant: a record is written while the call that it tells of is made, under one lock, so its
 * place in the journal is its place in time. A sync has two: it makes safe what stood before 'B'.
 * Who kills the process from outside may cut a record in two; `die` does not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FILES_MAX = 4096, PATH_BYTES = 512, RULES_MAX = 16, RULES_BYTES = 1024 };

/* The first bytes of a record, before its data. */
struct __attribute__((packed)) head {
  char kind;
  uint32_t handle;
  uint64_t at;
  uint32_t bytes;
};

struct file {
  uint32_t handle;  /* 0: not watched. Never given twice. */
  int is_lazy;      /* A sync was put off. */
  int has_new_head; /* Its first byte was written since it was last synced. */
  char path[PATH_BYTES];
};

struct rule {
  char op[16], suffix[64], what[16];
  long nth, times; /* times < 0: for ever */
  long calls;
};

enum what { NOTHING, FAIL, SHORT, DIE, DROP, LIE, LAZY };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES_MAX];
static struct rule rules[RULES_MAX];
static int rules_count;
static char rules_text[RULES_BYTES];
static uint32_t handles;
static int is_begun, journal = -1;
static const char *folder, *rules_path;

static void put(char kind, uint32_t handle, uint64_t at, const void *data, size_t bytes) {
  if (journal < 0) return;
  struct head head = {kind, handle, at, (uint32_t)bytes};
  struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, bytes}};
  ssize_t all = (ssize_t)(sizeof head + bytes);
  if (syscall(SYS_writev, journal, parts, 2) != all) abort(); /* A journal with a hole is a lie. */
}

static void begin(void) {
  if (is_begun) return;
  is_begun = 1;
  folder = getenv("SHIM_DIR");
  rules_path = getenv("SHIM_RULES");
  const char *path = getenv("SHIM_JOURNAL");
  if (!folder || !path) return;
  journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (journal < 0) abort();
  put('P', 0, 0, 0, 0);
}

static int is_watched(const char *path) {
  if (!folder || strncmp(path, folder, strlen(folder))) return 0;
  size_t bytes = strlen(path);
  return bytes < PATH_BYTES && !(bytes > 4 && !strcmp(path + bytes - 4, "-shm"));
}

static struct file *file_of(int fd) {
  return fd >= 0 && fd < FILES_MAX && files[fd].handle ? &files[fd] : 0;
}

static void read_rules(void) {
  char text[RULES_BYTES] = {0};
  int fd = (int)syscall(SYS_openat, AT_FDCWD, rules_path, O_RDONLY | O_CLOEXEC, 0);
  if (fd >= 0) {
    if (syscall(SYS_read, fd, text, sizeof text - 1) < 0) text[0] = 0;
    syscall(SYS_close, fd);
  }
  if (!strcmp(text, rules_text)) return;
  memcpy(rules_text, text, sizeof text);
  rules_count = 0;
  char *rest = text;
  for (char *line; rules_count < RULES_MAX && (line = strsep(&rest, "\n"));) {
    struct rule rule = {.times = 1};
    char target[80] = {0}, times[16] = "1";
    if (!*line) continue;
    if (sscanf(line, "%79[^:]:%ld:%15[^:]:%15s", target, &rule.nth, rule.what, times) < 3) abort();
    rule.times = *times == '*' ? -1 : atol(times);
    char *suffix = strchr(target, '@');
    if (suffix) { *suffix = 0; snprintf(rule.suffix, sizeof rule.suffix, "%s", suffix + 1); }
    snprintf(rule.op, sizeof rule.op, "%.15s", target);
    rules[rules_count++] = rule;
  }
}

static int ends_with(const char *text, const char *suffix) {
  size_t bytes = strlen(text), end = strlen(suffix);
  return bytes >= end && !strcmp(text + bytes - end, suffix);
}

/* What is to become of this call. With the lock held, which is let go of while it sleeps. */
static enum what judge(const char *op, const char *path) {
  if (!rules_path) return NOTHING;
  read_rules();
  enum what what = NOTHING;
  long sleep_ms = 0;
  for (int i = 0; i < rules_count; i++) {
    struct rule *rule = &rules[i];
    if (strcmp(rule->op, op) || !ends_with(path, rule->suffix)) continue;
    long call = ++rule->calls;
    if (call < rule->nth || (rule->times >= 0 && call >= rule->nth + rule->times)) continue;
    if (!strncmp(rule->what, "sleep=", 6)) sleep_ms = atol(rule->what + 6);
    else if (what != NOTHING) continue;
    else if (!strcmp(rule->what, "EIO")) { errno = EIO; what = FAIL; }
    else if (!strcmp(rule->what, "ENOSPC")) { errno = ENOSPC; what = FAIL; }
    else if (!strcmp(rule->what, "short")) what = SHORT;
    else if (!strcmp(rule->what, "die")) what = DIE;
    else if (!strcmp(rule->what, "drop")) what = DROP;
    else if (!strcmp(rule->what, "lie")) what = LIE;
    else if (!strcmp(rule->what, "lazy")) what = LAZY;
    else abort();
  }
  if (sleep_ms) {
    int error = errno;
    struct timespec time = {sleep_ms / 1000, sleep_ms % 1000 * 1000000};
    char mark[PATH_BYTES];
    if (snprintf(mark, sizeof mark, "%s.asleep", rules_path) >= PATH_BYTES) abort();
    int fd = (int)syscall(SYS_openat, AT_FDCWD, mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) abort();
    syscall(SYS_close, fd);
    pthread_mutex_unlock(&lock);
    nanosleep(&time, 0);
    pthread_mutex_lock(&lock);
    syscall(SYS_unlinkat, AT_FDCWD, mark, 0);
    errno = error;
  }
  return what;
}

static int opened(const char *path, int flags, mode_t mode) {
  pthread_mutex_lock(&lock);
  begin();
  int is_ours = is_watched(path), fd = -1;
  if (!is_ours || judge("open", path) != FAIL) {
    int is_new = is_ours && flags & O_CREAT && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) < 0;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (is_ours && fd >= FILES_MAX) abort();
    if (is_ours && fd >= 0) {
      files[fd] = (struct file){.handle = ++handles};
      strcpy(files[fd].path, path);
      struct stat stat;
      int is_folder = !fstat(fd, &stat) && S_ISDIR(stat.st_mode);
      put('O', handles, is_folder ? 2 : (uint64_t)is_new, path, strlen(path));
      if (flags & O_TRUNC) put('T', handles, 0, 0, 0);
    }
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

#define OPEN(name)                                                                                 \
  int name(const char *path, int flags, ...) {                                                     \
    va_list rest;                                                                                  \
    va_start(rest, flags);                                                                         \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                        \
    va_end(rest);                                                                                  \
    return opened(path, flags, mode);                                                              \
  }
OPEN(open)
OPEN(open64)

int close(int fd) {
  pthread_mutex_lock(&lock);
  if (file_of(fd)) files[fd].handle = 0;
  pthread_mutex_unlock(&lock);
  return (int)syscall(SYS_close, fd);
}

/* Syncs that were put off are done before another file is written. */
static void catch_up(struct file *writing) {
  for (int fd = 0; fd < FILES_MAX; fd++) {
    struct file *file = &files[fd];
    if (!file->handle || !file->is_lazy || file == writing) continue;
    file->is_lazy = 0;
    put('B', file->handle, 0, 0, 0);
    put('S', file->handle, 0, 0, 0);
  }
}

/* `at` < 0: where the file stands. */
static ssize_t written(int fd, const void *data, size_t bytes, off_t at) {
  struct file *file = file_of(fd);
  if (!file) {
    return at < 0 ? syscall(SYS_write, fd, data, bytes) : syscall(SYS_pwrite64, fd, data, bytes, at);
  }
  pthread_mutex_lock(&lock);
  enum what what = judge("write", file->path);
  ssize_t done = -1;
  if (what != FAIL) {
    if (what == SHORT || what == DIE) bytes = (bytes + 1) / 2;
    off_t from = at < 0 ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : at;
    done = at < 0 ? syscall(SYS_write, fd, data, bytes) : syscall(SYS_pwrite64, fd, data, bytes, at);
    int error = errno;
    catch_up(file);
    if (done > 0) put('W', file->handle, (uint64_t)from, data, (size_t)done);
    file->has_new_head |= from == 0;
    if (what == DIE) syscall(SYS_kill, getpid(), SIGKILL);
    errno = error;
  }
  pthread_mutex_unlock(&lock);
  return done;
}

ssize_t write(int fd, const void *data, size_t bytes) { return written(fd, data, bytes, -1); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) { return written(fd, data, bytes, at); }
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) { return written(fd, data, bytes, at); }

static int may_read(int fd) {
  struct file *file = file_of(fd);
  if (!file) return 1;
  pthread_mutex_lock(&lock);
  int may = judge("read", file->path) != FAIL;
  pthread_mutex_unlock(&lock);
  return may;
}

ssize_t read(int fd, void *data, size_t bytes) {
  return may_read(fd) ? syscall(SYS_read, fd, data, bytes) : -1;
}
ssize_t pread(int fd, void *data, size_t bytes, off_t at) {
  return may_read(fd) ? syscall(SYS_pread64, fd, data, bytes, at) : -1;
}
ssize_t pread64(int fd, void *data, size_t bytes, off_t at) { return pread(fd, data, bytes, at); }

int ftruncate(int fd, off_t bytes) {
  struct file *file = file_of(fd);
  if (!file) return (int)syscall(SYS_ftruncate, fd, bytes);
  pthread_mutex_lock(&lock);
  int done = -1;
  if (judge("truncate", file->path) != FAIL) {
    done = (int)syscall(SYS_ftruncate, fd, bytes);
    if (done == 0) put('T', file->handle, (uint64_t)bytes, 0, 0);
  }
  pthread_mutex_unlock(&lock);
  return done;
}
int ftruncate64(int fd, off_t bytes) { return ftruncate(fd, bytes); }

static int synced(int fd, long call) {
  struct file *file = file_of(fd);
  if (!file) return (int)syscall(call, fd);
  pthread_mutex_lock(&lock);
  put('B', file->handle, 0, 0, 0);
  enum what what = judge("sync", file->path);
  int done = 0;
  if (what == LAZY && file->has_new_head) what = NOTHING;
  file->has_new_head = 0;
  switch (what) {
    case FAIL: done = -1; break;
    case DROP: put('D', file->handle, 0, 0, 0); errno = EIO; done = -1; break;
    case LIE: break;
    case LAZY: file->is_lazy = 1; break;
    default:
      file->is_lazy = 0;
      if (journal < 0) done = (int)syscall(call, fd);
      else put('S', file->handle, 0, 0, 0);
  }
  pthread_mutex_unlock(&lock);
  return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
  pthread_mutex_lock(&lock);
  begin();
  int is_ours = is_watched(path), done = -1;
  if (!is_ours || judge("unlink", path) != FAIL) {
    done = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (is_ours && done == 0) put('X', 0, 0, path, strlen(path));
  }
  pthread_mutex_unlock(&lock);
  return done;
}

/* Tells of two names of a file, both of them in the folder. */
static void put_both(char kind, const char *from, const char *to) {
  if (!is_watched(from) || !is_watched(to)) return;
  char both[2 * PATH_BYTES];
  int bytes = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
  put(kind, 0, 0, both, (size_t)bytes);
}

int rename(const char *from, const char *to) {
  pthread_mutex_lock(&lock);
  begin();
  int done = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  if (done == 0) put_both('R', from, to);
  pthread_mutex_unlock(&lock);
  return done;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
  pthread_mutex_lock(&lock);
  begin();
  int done = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
  if (done == 0) put_both('L', from, to);
  pthread_mutex_unlock(&lock);
  return done;
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
