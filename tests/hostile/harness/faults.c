// Makes one call of the C library fail, for tests of full disks, broken disks and limits. Linux with glibc.
//
// Load it with LD_PRELOAD. Only calls on files below a folder count, and only those of the process that loads it:
// the processes that it starts run without it.
//
//   FAULTS_BELOW   the folder, without links in its path
//   FAULTS_MATCH   if set: only files with this text in their path count
//   FAULTS_COUNTS  a file that starts with one counter of 8 bytes per family, and has room for the description of the fault
//   FAULTS_FAMILY  the family of calls that fails; without it all calls are only counted
//   FAULTS_AT      which of them fails first, from 1
//   FAULTS_TIMES   how many of them fail in sequence
//   FAULTS_HOW     the error number; 0: half of the bytes are read or written; -1: SIGKILL before the call; -2: after it
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// In the order of `FAMILIES` in interposer.rs.
enum family { OPEN, READ, WRITE, SYNC, RENAME, LINK, MKDIR, UNLINK, LOCK, TRUNCATE, LIST, STAT, MODE, MAP, FAMILIES };
static const char *const NAMES[FAMILIES] = {"open", "read", "write", "sync", "rename", "link", "mkdir",
                                            "unlink", "lock", "truncate", "list", "stat", "mode", "map"};

struct counts {
  uint64_t calls[FAMILIES];
  char fault[2048];
};

static struct counts *counts; // NULL: nothing is counted and nothing fails
static const char *below, *match;
static int family = FAMILIES, how;
static uint64_t first, times;

// What a call has to do besides its work.
enum effect { NOTHING, FAIL, HALF, KILL_AFTER };

#define NEXT(name)                                          \
  ({                                                        \
    static __typeof__(&name) next;                          \
    if (!next) next = (__typeof__(next))dlsym(RTLD_NEXT, #name); \
    next;                                                   \
  })

static const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value ? value : otherwise;
}

__attribute__((constructor)) static void start(void) {
  unsetenv("LD_PRELOAD");
  const char *file = getenv("FAULTS_COUNTS");
  if (!file || !(below = getenv("FAULTS_BELOW"))) return;
  match = setting("FAULTS_MATCH", "");
  const char *wanted = setting("FAULTS_FAMILY", "");
  for (int f = 0; f < FAMILIES; f++)
    if (!strcmp(NAMES[f], wanted)) family = f;
  how = atoi(setting("FAULTS_HOW", "5"));
  first = strtoull(setting("FAULTS_AT", "1"), NULL, 10);
  times = strtoull(setting("FAULTS_TIMES", "1"), NULL, 10);
  int fd = NEXT(open)(file, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *mapped = NEXT(mmap)(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped != MAP_FAILED) counts = mapped;
}

// The path of an open file.
static int path_of(int fd, char path[4096]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(fd == AT_FDCWD ? "/proc/self/cwd" : link, path, 4095);
  path[length < 0 ? 0 : length] = 0;
  return length >= 0;
}

// A name, or NULL if there is none. `statx` is declared never to get a null pointer, but the standard library of Rust
// passes one; the assembly keeps the compiler from trusting the declaration.
static const char *named(const char *name) {
  __asm__("" : "+r"(name));
  return name && *name ? name : NULL;
}

// Counts a call on `name` in the open folder `at`, or on the open file `at` if there is no name.
static enum effect count(enum family f, int at, const char *name, const char *function) {
  if (!counts) return NOTHING;
  int before = errno;
  char path[8192] = "", folder[4096] = "";
  if (!name) {
    path_of(at, path);
  } else if (name[0] == '/') {
    snprintf(path, sizeof path, "%s", name);
  } else {
    path_of(at, folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
  }
  errno = before;
  if (strncmp(path, below, strlen(below)) || !strstr(path, match)) return NOTHING;
  uint64_t number = __atomic_add_fetch(&counts->calls[f], 1, __ATOMIC_SEQ_CST);
  if (f != (enum family)family || number < first || number - first >= times) return NOTHING;
  if (number == first) snprintf(counts->fault, sizeof counts->fault, "%s of %s", function, path + strlen(below));
  if (how == -1) raise(SIGKILL);
  if (how == -2) return KILL_AFTER;
  if (how == 0) return HALF;
  errno = how;
  return FAIL;
}

// Defines a function that may fail: its type, name, parameters and arguments, how it fails, and what it works on.
#define MAY_FAIL(type, name, parameters, arguments, failed, family, at, path) \
  type name parameters {                                                    \
    enum effect effect = count(family, at, path, #name);                    \
    if (effect == FAIL) return failed;                                      \
    type result = NEXT(name) arguments;                                     \
    if (effect == KILL_AFTER) raise(SIGKILL);                               \
    return result;                                                          \
  }

// The same for one that moves bytes, and may move only half of them.
#define MAY_FALL_SHORT(name, parameters, arguments, family, size)           \
  ssize_t name parameters {                                                 \
    enum effect effect = count(family, fd, NULL, #name);                    \
    if (effect == FAIL) return -1;                                          \
    if (effect == HALF && size > 1) size /= 2;                              \
    ssize_t result = NEXT(name) arguments;                                  \
    if (effect == KILL_AFTER) raise(SIGKILL);                               \
    return result;                                                          \
  }

#define MODE_OF(flags)                                                        \
  mode_t mode = 0;                                                            \
  if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) {            \
    va_list list;                                                             \
    va_start(list, flags);                                                    \
    mode = va_arg(list, mode_t);                                              \
    va_end(list);                                                             \
  }

#define OPENS(name, at, parameters, ...)                                      \
  int name parameters {                                                       \
    MODE_OF(flags)                                                            \
    enum effect effect = count(OPEN, at, path, #name);                        \
    if (effect == FAIL) return -1;                                            \
    int fd = NEXT(name)(__VA_ARGS__, mode);                                   \
    if (effect == KILL_AFTER) raise(SIGKILL);                                 \
    return fd;                                                                \
  }

OPENS(open, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...), path, flags)
OPENS(openat, at, (int at, const char *path, int flags, ...), at, path, flags)
OPENS(openat64, at, (int at, const char *path, int flags, ...), at, path, flags)

MAY_FALL_SHORT(read, (int fd, void *bytes, size_t size), (fd, bytes, size), READ, size)
MAY_FALL_SHORT(pread, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at), READ, size)
MAY_FALL_SHORT(pread64, (int fd, void *bytes, size_t size, off64_t at), (fd, bytes, size, at), READ, size)
MAY_FALL_SHORT(readv, (int fd, const struct iovec *parts, int n), (fd, parts, n), READ, n)
MAY_FALL_SHORT(write, (int fd, const void *bytes, size_t size), (fd, bytes, size), WRITE, size)
MAY_FALL_SHORT(pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at), WRITE, size)
MAY_FALL_SHORT(pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at), WRITE, size)
MAY_FALL_SHORT(writev, (int fd, const struct iovec *parts, int n), (fd, parts, n), WRITE, n)
ssize_t copy_file_range(int in, off64_t *from, int fd, off64_t *to, size_t size, unsigned flags) {
  enum effect effect = count(WRITE, fd, NULL, "copy_file_range");
  if (effect == FAIL) return -1;
  return NEXT(copy_file_range)(in, from, fd, to, effect == HALF && size > 1 ? size / 2 : size, flags);
}

MAY_FAIL(int, fsync, (int fd), (fd), -1, SYNC, fd, NULL)
MAY_FAIL(int, fdatasync, (int fd), (fd), -1, SYNC, fd, NULL)
MAY_FAIL(int, syncfs, (int fd), (fd), -1, SYNC, fd, NULL)
// Renames and links count by where the file shall be.
MAY_FAIL(int, rename, (const char *from, const char *to), (from, to), -1, RENAME, AT_FDCWD, to)
MAY_FAIL(int, renameat, (int in, const char *from, int at, const char *to), (in, from, at, to), -1, RENAME, at, to)
MAY_FAIL(int, renameat2, (int in, const char *from, int at, const char *to, unsigned flags), (in, from, at, to, flags), -1,
         RENAME, at, to)
MAY_FAIL(int, link, (const char *from, const char *to), (from, to), -1, LINK, AT_FDCWD, to)
MAY_FAIL(int, linkat, (int in, const char *from, int at, const char *to, int flags), (in, from, at, to, flags), -1, LINK, at,
         to)
MAY_FAIL(int, mkdir, (const char *path, mode_t mode), (path, mode), -1, MKDIR, AT_FDCWD, path)
MAY_FAIL(int, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), -1, MKDIR, at, path)
MAY_FAIL(int, unlink, (const char *path), (path), -1, UNLINK, AT_FDCWD, path)
MAY_FAIL(int, unlinkat, (int at, const char *path, int flags), (at, path, flags), -1, UNLINK, at, path)
MAY_FAIL(int, rmdir, (const char *path), (path), -1, UNLINK, AT_FDCWD, path)
MAY_FAIL(int, flock, (int fd, int operation), (fd, operation), -1, LOCK, fd, NULL)
MAY_FAIL(int, ftruncate, (int fd, off_t size), (fd, size), -1, TRUNCATE, fd, NULL)
MAY_FAIL(int, ftruncate64, (int fd, off64_t size), (fd, size), -1, TRUNCATE, fd, NULL)
MAY_FAIL(DIR *, opendir, (const char *path), (path), NULL, LIST, AT_FDCWD, path)
MAY_FAIL(DIR *, fdopendir, (int fd), (fd), NULL, LIST, fd, NULL)
MAY_FAIL(struct dirent *, readdir, (DIR *folder), (folder), NULL, LIST, dirfd(folder), NULL)
MAY_FAIL(struct dirent64 *, readdir64, (DIR *folder), (folder), NULL, LIST, dirfd(folder), NULL)
MAY_FAIL(int, stat64, (const char *path, struct stat64 *found), (path, found), -1, STAT, AT_FDCWD, path)
MAY_FAIL(int, lstat64, (const char *path, struct stat64 *found), (path, found), -1, STAT, AT_FDCWD, path)
MAY_FAIL(int, fstat64, (int fd, struct stat64 *found), (fd, found), -1, STAT, fd, NULL)
MAY_FAIL(int, fstatat64, (int at, const char *path, struct stat64 *found, int flags), (at, path, found, flags), -1, STAT, at,
         named(path))
MAY_FAIL(int, statx, (int at, const char *path, int flags, unsigned mask, struct statx *found), (at, path, flags, mask, found),
         -1, STAT, at, named(path))
MAY_FAIL(int, access, (const char *path, int mode), (path, mode), -1, STAT, AT_FDCWD, path)
MAY_FAIL(int, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags), -1, STAT, at, path)
MAY_FAIL(int, chmod, (const char *path, mode_t mode), (path, mode), -1, MODE, AT_FDCWD, path)
MAY_FAIL(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, MODE, fd, NULL)
MAY_FAIL(int, futimens, (int fd, const struct timespec times[2]), (fd, times), -1, MODE, fd, NULL)

void *mmap(void *where, size_t size, int protection, int flags, int fd, off_t at) {
  if (fd >= 0 && count(MAP, fd, NULL, "mmap") == FAIL) return MAP_FAILED;
  return NEXT(mmap)(where, size, protection, flags, fd, at);
}

void *mmap64(void *where, size_t size, int protection, int flags, int fd, off64_t at) {
  if (fd >= 0 && count(MAP, fd, NULL, "mmap64") == FAIL) return MAP_FAILED;
  return NEXT(mmap64)(where, size, protection, flags, fd, at);
}

// What has no function of its own in every C library.
long syscall(long number, ...) {
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  enum effect effect = NOTHING;
#ifdef SYS_openat2
  if (number == SYS_openat2) effect = count(OPEN, (int)a[0], (const char *)a[1], "openat2");
#endif
  if (number == SYS_renameat2) effect = count(RENAME, (int)a[2], (const char *)a[3], "renameat2");
  if (effect == FAIL) return -1;
  long result = NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  if (effect == KILL_AFTER) raise(SIGKILL);
  return result;
}
