/*
 * A preload shim that makes the disk under one folder fail as told, for whatever process works there:
 *  - FOLDER.quota holds a number: files grow until together they have so many bytes, then EDQUOT;
 *  - FOLDER.no-fsync exists: fsync and fdatasync fail with EIO.
 * The folder is named by SKERRY_FAILING_DISK, and has no folders in it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int beside(char path[PATH_MAX], const char *ending) {
  const char *folder = getenv("SKERRY_FAILING_DISK");
  return folder && snprintf(path, PATH_MAX, "%s%s", folder, ending) < PATH_MAX;
}

static int is_inside(int fd) {
  char folder[PATH_MAX], link[64], path[PATH_MAX];
  if (!beside(folder, "/")) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = '\0';
  return strncmp(path, folder, strlen(folder)) == 0;
}

static long long bytes_inside(void) {
  char folder[PATH_MAX];
  if (!beside(folder, "")) return 0;
  DIR *directory = opendir(folder);
  if (!directory) return 0;
  long long sum = 0;
  struct stat st;
  for (struct dirent *entry; (entry = readdir(directory));)
    if (fstatat(dirfd(directory), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
      sum += st.st_size;
  closedir(directory);
  return sum;
}

static int is_over_quota(int fd, off_t end) {
  char path[PATH_MAX];
  struct stat st;
  long long quota = 0;
  if (!is_inside(fd) || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end <= st.st_size) return 0;
  FILE *file = beside(path, ".quota") ? fopen(path, "r") : NULL;
  if (!file) return 0;
  int found = fscanf(file, "%lld", &quota);
  fclose(file);
  /* One that was removed while it is open takes its room until it is closed. */
  long long removed = st.st_nlink == 0 ? st.st_size : 0;
  return found == 1 && bytes_inside() + removed + (end - st.st_size) > quota;
}

#define REAL(result, name, ...)                                     \
  static result (*real)(__VA_ARGS__);                               \
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

#define REFUSE(code)                                                \
  do {                                                              \
    errno = code;                                                   \
    return -1;                                                      \
  } while (0)

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
  if (is_over_quota(fd, offset + (off_t)count)) REFUSE(EDQUOT);
  return real(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) {
  return pwrite(fd, bytes, count, offset);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  REAL(ssize_t, "write", int, const void *, size_t);
  off_t at = lseek(fd, 0, SEEK_CUR);
  struct stat st;
  /* Of a file that is only appended to, the place is its end. */
  if (at == 0 && fstat(fd, &st) == 0) at = st.st_size;
  if (at >= 0 && is_over_quota(fd, at + (off_t)count)) REFUSE(EDQUOT);
  return real(fd, bytes, count);
}

static int fails_to_sync(int fd) {
  char path[PATH_MAX];
  return beside(path, ".no-fsync") && access(path, F_OK) == 0 && is_inside(fd);
}

int fsync(int fd) {
  REAL(int, "fsync", int);
  if (fails_to_sync(fd)) REFUSE(EIO);
  return real(fd);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  if (fails_to_sync(fd)) REFUSE(EIO);
  return real(fd);
}
