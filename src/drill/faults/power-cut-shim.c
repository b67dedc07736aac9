/*
 * A preload shim that makes a power cut real. Every change to files under one folder, and every
 * fsync there, is written to a log that all processes share (a mapped file, so that it outlives them
 * all); power-cut-model.ts plays the log back and leaves what a disk may hold after the power failed.
 *
 * Rules it keeps:
 *  - one lock orders all changes of all processes: a change and its record are one step, and what is
 *    not in the log was not acknowledged by the kernel to anybody;
 *  - files are known by inode, looked up anew at every call, so that dup, fork, inherited and
 *    received descriptors need no bookkeeping;
 *  - a way to change a file that the model does not know ends the process with a word in the log.
 *    Nothing is guessed, and nothing is passed over;
 *  - after the cut the next change ends its process with SIGKILL: no change, no fsync passes.
 *
 * fsync returns at once: the log is the disk. Modes and times are not modelled. Stores to memory-mapped
 * files are not seen, so only SQLite's -shm may be mapped for writing: it is rebuilt by its readers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "64-bit files only");

/* The layout is read by power-cut-log.ts. */
enum { HEADER_BYTES = 4096, VERSION = 1 };
typedef struct {
  _Atomic uint32_t ready; /* 0 nobody was here, 1 being made, 2 usable */
  _Atomic uint32_t cut;
  uint64_t cut_at;   /* the change that finds the power gone; 0: never */
  uint64_t changes;  /* so far, fsyncs included */
  uint64_t length;   /* bytes of log after the header */
  uint64_t in_doubt; /* the inode that the lock's holder is changing */
  pthread_mutex_t lock;
} header;
_Static_assert(sizeof(header) <= HEADER_BYTES, "the header has a page");

enum {
  CREATE = 1, MAKE_DIRECTORY, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, LINK, MAPPED, SYNC_ALL,
  UNMODELLED, IN_DOUBT, PUNCH
};
typedef struct {
  uint32_t bytes; /* with payload and padding to 8 */
  uint16_t type;
  uint16_t durable; /* a write through O_SYNC or O_DSYNC */
  uint64_t inode;
  uint64_t parent;
  int64_t offset;
  uint32_t mode;
  uint32_t payload;
} record;

static header *shared;
static char *log_bytes;
static uint64_t log_capacity;
static char folder[PATH_MAX];
static size_t folder_length;
static dev_t device;
static char ignored[PATH_MAX]; /* whose fsync is a lie; for the proof that the harness notices */

#define REAL(name) real_##name
#define DECLARE(result, name, ...) static result (*REAL(name))(__VA_ARGS__)
DECLARE(int, openat, int, const char *, int, ...);
DECLARE(ssize_t, write, int, const void *, size_t);
DECLARE(ssize_t, writev, int, const struct iovec *, int);
DECLARE(ssize_t, pwrite, int, const void *, size_t, off_t);
DECLARE(ssize_t, pwritev, int, const struct iovec *, int, off_t);
DECLARE(int, ftruncate, int, off_t);
DECLARE(int, fallocate, int, int, off_t, off_t);
DECLARE(int, renameat, int, const char *, int, const char *);
DECLARE(int, unlinkat, int, const char *, int);
DECLARE(int, mkdirat, int, const char *, mode_t);
DECLARE(int, linkat, int, const char *, int, const char *, int);
DECLARE(int, symlinkat, const char *, int, const char *);
DECLARE(int, fsync, int);
DECLARE(void, sync, void);
DECLARE(void *, mmap, void *, size_t, int, int, int, off_t);
DECLARE(ssize_t, sendfile, int, int, off_t *, size_t);
DECLARE(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned);
DECLARE(ssize_t, splice, int, off_t *, int, off_t *, size_t, unsigned);
DECLARE(FILE *, fopen, const char *, const char *);
DECLARE(int, mkostemp, char *, int);
DECLARE(char *, mkdtemp, char *);
DECLARE(long, syscall, long, ...);

static void find(void *pointer, const char *name) {
  *(void **)pointer = dlsym(RTLD_NEXT, name);
}

static void __attribute__((noreturn)) give_up(const char *why) {
  dprintf(2, "power-cut shim: %s\n", why);
  abort();
}

/* Functions may be called before the constructor, by other libraries' constructors. */
static void find_all(void) {
  if (REAL(syscall)) return;
#define FIND(name) find(&REAL(name), #name)
  FIND(openat); FIND(write); FIND(writev); FIND(pwrite); FIND(pwritev); FIND(ftruncate);
  FIND(fallocate); FIND(renameat); FIND(unlinkat); FIND(mkdirat); FIND(linkat); FIND(symlinkat);
  FIND(fsync); FIND(sync); FIND(mmap); FIND(sendfile); FIND(copy_file_range); FIND(splice);
  FIND(fopen); FIND(mkostemp); FIND(mkdtemp); FIND(syscall);
}

static void open_log(const char *path) {
  int fd = REAL(openat)(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= HEADER_BYTES) give_up("its log cannot be opened");
  char *mapped = REAL(mmap)(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) give_up("its log cannot be mapped");
  close(fd);
  log_bytes = mapped + HEADER_BYTES;
  log_capacity = (uint64_t)st.st_size - HEADER_BYTES;
  header *found = (header *)mapped;
  uint32_t nobody = 0;
  if (atomic_compare_exchange_strong(&found->ready, &nobody, 1)) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&found->lock, &attributes);
    atomic_store(&found->ready, 2);
  }
  while (atomic_load(&found->ready) != 2) usleep(1000);
  shared = found;
}

__attribute__((constructor)) static void start(void) {
  find_all();
  const char *log_path = getenv("SKERRY_POWER_CUT_LOG");
  const char *root = getenv("SKERRY_POWER_CUT_FOLDER");
  if (!log_path || !root) return;
  struct stat st;
  if (stat(root, &st) != 0 || strlen(root) >= sizeof folder) give_up("its folder is not there");
  strcpy(folder, root);
  folder_length = strlen(folder);
  device = st.st_dev;
  const char *lie = getenv("SKERRY_POWER_CUT_IGNORE_SYNC");
  if (lie && strlen(lie) < sizeof ignored) strcpy(ignored, lie);
  open_log(log_path);
}

/* The log */

static void append(record head, const void *payload) {
  uint64_t bytes = (sizeof head + head.payload + 7) & ~7ull;
  if (shared->length + bytes > log_capacity) give_up("its log is full");
  head.bytes = (uint32_t)bytes;
  char *at = log_bytes + shared->length;
  memcpy(at, &head, sizeof head);
  if (head.payload) memcpy(at + sizeof head, payload, head.payload);
  /* Who is killed before this line has left nothing. */
  atomic_thread_fence(memory_order_release);
  shared->length += bytes;
}

static void __attribute__((noreturn)) power_is_gone(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* Takes the lock for a change to `inode`; does not come back once the power is cut. */
static void enter(uint64_t inode) {
  int kept = errno;
  if (pthread_mutex_lock(&shared->lock) == EOWNERDEAD) {
    /* Killed in the middle of a change that may or may not have reached the kernel. */
    append((record){.type = IN_DOUBT, .inode = shared->in_doubt}, NULL);
    pthread_mutex_consistent(&shared->lock);
  }
  shared->changes++;
  if (shared->cut_at && shared->changes >= shared->cut_at) atomic_store(&shared->cut, 1);
  if (atomic_load(&shared->cut)) {
    pthread_mutex_unlock(&shared->lock);
    power_is_gone();
  }
  shared->in_doubt = inode;
  errno = kept;
}

static void leave(void) {
  int kept = errno;
  shared->in_doubt = 0;
  pthread_mutex_unlock(&shared->lock);
  errno = kept;
}

static void __attribute__((noreturn)) unmodelled(const char *what, const char *path) {
  char text[PATH_MAX + 128];
  int length = snprintf(text, sizeof text, "%s on %s is not modelled", what, path);
  enter(0);
  append((record){.type = UNMODELLED, .payload = (uint32_t)length}, text);
  leave();
  give_up(text);
}

/* What lies under the folder */

static int is_inside(const char *path) {
  return strncmp(path, folder, folder_length) == 0 &&
         (path[folder_length] == '/' || path[folder_length] == '\0');
}

/* The path of an open file or directory as the kernel knows it now. */
static int path_of(int fd, char path[PATH_MAX]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return 1;
}

/* True for a regular file (or directory) under the folder; its path and what stat says of it. */
static int is_watched(int fd, struct stat *st, char path[PATH_MAX]) {
  if (!shared) return 0;
  int kept = errno;
  int yes = fstat(fd, st) == 0 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) &&
            st->st_dev == device && path_of(fd, path) && is_inside(path);
  errno = kept;
  return yes;
}

typedef struct {
  int fd; /* of the parent; to be closed */
  uint64_t inode;
  char parent[PATH_MAX];
  char name[NAME_MAX + 1];
} place;

/* Finds the directory that holds `path`'s last part. False when it is not under the folder. */
static int find_place(int at, const char *path, place *found) {
  if (!shared || !path || !*path || strlen(path) >= PATH_MAX) return 0;
  int kept = errno;
  char parent[PATH_MAX];
  strcpy(parent, path);
  size_t length = strlen(parent);
  while (length > 1 && parent[length - 1] == '/') parent[--length] = '\0';
  char *slash = strrchr(parent, '/');
  const char *name = slash ? slash + 1 : parent;
  if (strlen(name) > NAME_MAX) return 0;
  strcpy(found->name, name);
  if (!slash) strcpy(parent, ".");
  else if (slash == parent) strcpy(parent, "/");
  else *slash = '\0';
  found->fd = REAL(openat)(at, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct stat st;
  int yes = found->fd >= 0 && fstat(found->fd, &st) == 0 && st.st_dev == device &&
            path_of(found->fd, found->parent) && is_inside(found->parent);
  if (found->fd >= 0 && !yes) close(found->fd);
  found->inode = yes ? st.st_ino : 0;
  errno = kept;
  return yes;
}

static void close_place(place *found) {
  int kept = errno;
  close(found->fd);
  errno = kept;
}

static void append_name(uint16_t type, uint64_t inode, mode_t mode, const place *at) {
  append((record){.type = type, .inode = inode, .parent = at->inode, .mode = mode & 07777,
                  .payload = (uint32_t)strlen(at->name)}, at->name);
}

/* Creation */

static int open_changing(int at, const char *path, int flags, mode_t mode) {
  place found;
  if (!find_place(at, path, &found)) return REAL(openat)(at, path, flags, mode);
  struct stat before, after;
  int existed = fstatat(found.fd, found.name, &before, AT_SYMLINK_NOFOLLOW) == 0;
  if ((flags & O_TMPFILE) == O_TMPFILE) unmodelled("O_TMPFILE", path);
  if (existed && !S_ISREG(before.st_mode)) {
    close_place(&found);
    return REAL(openat)(at, path, flags, mode);
  }
  enter(existed ? before.st_ino : found.inode);
  existed = fstatat(found.fd, found.name, &before, AT_SYMLINK_NOFOLLOW) == 0;
  int fd = REAL(openat)(at, path, flags, mode);
  if (fd >= 0 && fstat(fd, &after) == 0 && S_ISREG(after.st_mode)) {
    if (!existed) append_name(CREATE, after.st_ino, after.st_mode, &found);
    else if ((flags & O_TRUNC) && before.st_size > 0)
      append((record){.type = TRUNCATE, .inode = after.st_ino}, NULL);
  }
  leave();
  close_place(&found);
  return fd;
}

static int open_any(int at, const char *path, int flags, mode_t mode) {
  find_all();
  int changes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE;
  return changes ? open_changing(at, path, flags, mode) : REAL(openat)(at, path, flags, mode);
}

#define MODE_ARGUMENT(flags)                                        \
  mode_t mode = 0;                                                  \
  if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {      \
    va_list list;                                                   \
    va_start(list, flags);                                          \
    mode = va_arg(list, mode_t);                                    \
    va_end(list);                                                   \
  }

int open(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
  MODE_ARGUMENT(flags)
  return open_any(at, path, flags, mode);
}
int creat(const char *path, mode_t mode) {
  return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) {
  return creat(path, mode);
}

int mkostemp(char *path, int flags) {
  find_all();
  place found;
  if (!find_place(AT_FDCWD, path, &found)) return REAL(mkostemp)(path, flags);
  enter(found.inode);
  int fd = REAL(mkostemp)(path, flags);
  struct stat made;
  if (fd >= 0 && fstat(fd, &made) == 0) {
    /* The template ends in the letters that were chosen. */
    strcpy(found.name, path + strlen(path) - strlen(found.name));
    append_name(CREATE, made.st_ino, made.st_mode, &found);
  }
  leave();
  close_place(&found);
  return fd;
}
int mkstemp(char *path) {
  return mkostemp(path, 0);
}
int mkstemp64(char *path) {
  return mkostemp(path, 0);
}

int mkdirat(int at, const char *path, mode_t mode) {
  find_all();
  place found;
  if (!find_place(at, path, &found)) return REAL(mkdirat)(at, path, mode);
  enter(found.inode);
  int result = REAL(mkdirat)(at, path, mode);
  struct stat made;
  if (result == 0 && fstatat(found.fd, found.name, &made, AT_SYMLINK_NOFOLLOW) == 0)
    append_name(MAKE_DIRECTORY, made.st_ino, made.st_mode, &found);
  leave();
  close_place(&found);
  return result;
}
int mkdir(const char *path, mode_t mode) {
  return mkdirat(AT_FDCWD, path, mode);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
  find_all();
  place found;
  if (!find_place(to_at, to, &found)) return REAL(linkat)(from_at, from, to_at, to, flags);
  enter(found.inode);
  int result = REAL(linkat)(from_at, from, to_at, to, flags);
  struct stat made;
  if (result == 0 && fstatat(found.fd, found.name, &made, AT_SYMLINK_NOFOLLOW) == 0)
    append_name(LINK, made.st_ino, made.st_mode, &found);
  leave();
  close_place(&found);
  return result;
}
int link(const char *from, const char *to) {
  return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* Removal and renaming */

int unlinkat(int at, const char *path, int flags) {
  find_all();
  place found;
  if (!find_place(at, path, &found)) return REAL(unlinkat)(at, path, flags);
  enter(found.inode);
  int result = REAL(unlinkat)(at, path, flags);
  if (result == 0) append_name(UNLINK, 0, 0, &found);
  leave();
  close_place(&found);
  return result;
}
int unlink(const char *path) {
  return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path) {
  return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int remove(const char *path) {
  struct stat st;
  int is_directory = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
  return unlinkat(AT_FDCWD, path, is_directory ? AT_REMOVEDIR : 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
  find_all();
  place source, target;
  int from_inside = find_place(from_at, from, &source);
  int to_inside = find_place(to_at, to, &target);
  if (!from_inside && !to_inside) return REAL(renameat)(from_at, from, to_at, to);
  if (!from_inside || !to_inside) unmodelled("rename into or out of the folder", from);
  int between = source.inode != target.inode;
  enter(between ? target.inode : source.inode);
  int result = REAL(renameat)(from_at, from, to_at, to);
  struct stat moved;
  if (result == 0 && between) {
    /* Two directories, each with an order of its own: a name more, and later a name less. */
    if (fstatat(target.fd, target.name, &moved, AT_SYMLINK_NOFOLLOW) != 0)
      give_up("what was renamed is gone");
    append_name(LINK, moved.st_ino, moved.st_mode, &target);
    append_name(UNLINK, 0, 0, &source);
  } else if (result == 0) {
    char names[2 * NAME_MAX + 2];
    size_t first = strlen(source.name), second = strlen(target.name);
    memcpy(names, source.name, first + 1);
    memcpy(names + first + 1, target.name, second);
    append((record){.type = RENAME, .parent = source.inode,
                    .payload = (uint32_t)(first + 1 + second)}, names);
  }
  leave();
  close_place(&source);
  close_place(&target);
  return result;
}
int rename(const char *from, const char *to) {
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
  find_all();
  place found;
  if (flags == 0) return renameat(from_at, from, to_at, to);
  if (find_place(to_at, to, &found)) unmodelled("renameat2 with flags", to);
  return (int)REAL(syscall)(SYS_renameat2, from_at, from, to_at, to, flags);
}

int symlinkat(const char *target, int at, const char *path) {
  find_all();
  place found;
  if (find_place(at, path, &found)) unmodelled("symlink", path);
  return REAL(symlinkat)(target, at, path);
}
int symlink(const char *target, const char *path) {
  return symlinkat(target, AT_FDCWD, path);
}

/* Content */

/* One record for all parts of a vector; `bytes` is what the kernel took. */
static void append_write(uint64_t inode, off_t offset, const struct iovec *parts, int count,
                         size_t bytes, int durable) {
  for (int i = 0; i < count && bytes > 0; i++) {
    size_t length = parts[i].iov_len < bytes ? parts[i].iov_len : bytes;
    append((record){.type = WRITE, .durable = (uint16_t)durable, .inode = inode, .offset = offset,
                    .payload = (uint32_t)length}, parts[i].iov_base);
    offset += (off_t)length;
    bytes -= length;
  }
}

/* `at` is -1 for the file's own position. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t at) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  if (!is_watched(fd, &st, path))
    return at < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev)(fd, parts, count, at);
  int flags = fcntl(fd, F_GETFL);
  if ((flags & O_APPEND) && at >= 0) unmodelled("pwrite with O_APPEND", path);
  enter(st.st_ino);
  ssize_t done = at < 0 ? REAL(writev)(fd, parts, count) : REAL(pwritev)(fd, parts, count, at);
  if (done > 0) {
    off_t from = at < 0 ? lseek(fd, 0, SEEK_CUR) - done : at;
    append_write(st.st_ino, from, parts, count, (size_t)done, (flags & (O_SYNC | O_DSYNC)) != 0);
  }
  leave();
  return done;
}

ssize_t write(int fd, const void *bytes, size_t count) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  if (!is_watched(fd, &st, path)) return REAL(write)(fd, bytes, count);
  struct iovec part = {(void *)bytes, count};
  return write_parts(fd, &part, 1, -1);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  return write_parts(fd, parts, count, -1);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
  struct iovec part = {(void *)bytes, count};
  if (at < 0) { errno = EINVAL; return -1; }
  return write_parts(fd, &part, 1, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
  return pwrite(fd, bytes, count, at);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  if (at < 0) { errno = EINVAL; return -1; }
  return write_parts(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
  return pwritev(fd, parts, count, at);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  if (flags && is_watched(fd, &st, path)) unmodelled("pwritev2 with flags", path);
  return write_parts(fd, parts, count, at);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
  return pwritev2(fd, parts, count, at, flags);
}

int ftruncate(int fd, off_t size) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  if (!is_watched(fd, &st, path)) return REAL(ftruncate)(fd, size);
  enter(st.st_ino);
  int result = REAL(ftruncate)(fd, size);
  if (result == 0) append((record){.type = TRUNCATE, .inode = st.st_ino, .offset = size}, NULL);
  leave();
  return result;
}
int ftruncate64(int fd, off_t size) {
  return ftruncate(fd, size);
}
int truncate(const char *path, off_t size) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  int result = ftruncate(fd, size);
  int kept = errno;
  close(fd);
  errno = kept;
  return result;
}
int truncate64(const char *path, off_t size) {
  return truncate(path, size);
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  if (!is_watched(fd, &st, path)) return REAL(fallocate)(fd, mode, offset, length);
  int is_punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  if (mode != 0 && mode != FALLOC_FL_KEEP_SIZE && !is_punch) unmodelled("fallocate", path);
  enter(st.st_ino);
  int result = REAL(fallocate)(fd, mode, offset, length);
  if (result == 0 && is_punch)
    append((record){.type = PUNCH, .inode = st.st_ino, .parent = (uint64_t)length, .offset = offset}, NULL);
  if (result == 0 && mode == 0 && offset + length > st.st_size)
    append((record){.type = TRUNCATE, .inode = st.st_ino, .offset = offset + length}, NULL);
  leave();
  return result;
}
int fallocate64(int fd, int mode, off_t offset, off_t length) {
  return fallocate(fd, mode, offset, length);
}
int posix_fallocate(int fd, off_t offset, off_t length) {
  return fallocate(fd, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off_t offset, off_t length) {
  return posix_fallocate(fd, offset, length);
}

/* Durability. sync_file_range(2) promises none of it, so it is not here. */

int fsync(int fd) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  if (!is_watched(fd, &st, path)) return REAL(fsync)(fd);
  enter(st.st_ino);
  if (!ignored[0] || strcmp(path, ignored) != 0)
    append((record){.type = SYNC, .inode = st.st_ino}, NULL);
  leave();
  return 0;
}
int fdatasync(int fd) {
  return fsync(fd);
}
int syncfs(int fd) {
  find_all();
  struct stat st;
  if (!shared || fstat(fd, &st) != 0 || st.st_dev != device)
    return (int)REAL(syscall)(SYS_syncfs, fd);
  enter(0);
  append((record){.type = SYNC_ALL}, NULL);
  leave();
  return 0;
}
void sync(void) {
  find_all();
  if (!shared) return REAL(sync)();
  enter(0);
  append((record){.type = SYNC_ALL}, NULL);
  leave();
}

/* Ways that are known only to be refused, or watched for */

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  find_all();
  struct stat st;
  char path[PATH_MAX];
  /* Not shared, or not for writing: nothing that is stored there reaches the file. */
  int is_writable = fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE);
  if (is_writable && is_watched(fd, &st, path)) {
    size_t end = strlen(path);
    if (end < 4 || strcmp(path + end - 4, "-shm") != 0) unmodelled("a shared mapping", path);
    enter(st.st_ino);
    append((record){.type = MAPPED, .inode = st.st_ino}, NULL);
    leave();
  }
  return REAL(mmap)(at, length, protection, flags, fd, offset);
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
  return mmap(at, length, protection, flags, fd, offset);
}

static void refuse_output(const char *what, int fd) {
  struct stat st;
  char path[PATH_MAX];
  if (is_watched(fd, &st, path)) unmodelled(what, path);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t count) {
  find_all();
  refuse_output("sendfile", out);
  return REAL(sendfile)(out, in, offset, count);
}
ssize_t sendfile64(int out, int in, off_t *offset, size_t count) {
  return sendfile(out, in, offset, count);
}
ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t count, unsigned flags) {
  find_all();
  refuse_output("copy_file_range", out);
  return REAL(copy_file_range)(in, in_at, out, out_at, count, flags);
}
ssize_t splice(int in, off_t *in_at, int out, off_t *out_at, size_t count, unsigned flags) {
  find_all();
  refuse_output("splice", out);
  return REAL(splice)(in, in_at, out, out_at, count, flags);
}

/* What stdio writes does not come by here. */
FILE *fopen(const char *path, const char *mode) {
  find_all();
  place found;
  if (strpbrk(mode, "wa+") && find_place(AT_FDCWD, path, &found)) unmodelled("fopen", path);
  return REAL(fopen)(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
  return fopen(path, mode);
}
char *mkdtemp(char *path) {
  find_all();
  place found;
  if (find_place(AT_FDCWD, path, &found)) unmodelled("mkdtemp", path);
  return REAL(mkdtemp)(path);
}

long syscall(long number, ...) {
  find_all();
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  switch (number) {
  case SYS_io_uring_setup:
    /* Writes through a ring would not come by here. libuv then uses its threads. */
    errno = ENOSYS;
    return -1;
  case SYS_write: case SYS_writev: case SYS_pwrite64: case SYS_pwritev: case SYS_pwritev2:
  case SYS_ftruncate: case SYS_fallocate: case SYS_fsync: case SYS_fdatasync: case SYS_syncfs:
  case SYS_sendfile:
    refuse_output("a bare system call", (int)a[0]);
    break;
  case SYS_copy_file_range: case SYS_splice:
    refuse_output("a bare system call", (int)a[2]);
    break;
  case SYS_renameat2: {
    place found;
    if (find_place((int)a[2], (const char *)a[3], &found))
      unmodelled("a bare renameat2", (const char *)a[3]);
    break;
  }
  }
  return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
