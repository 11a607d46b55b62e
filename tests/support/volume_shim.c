/* A library to preload: makes calls fail for paths under the folders in TEST_VOLUMES (separated by colons), as volumes of pods, WSL2 and network
 * storage do. TEST_REFUSED lists which calls: flock, chmod, fsync, mmap, link, write. A write fails with the error TEST_WRITE_ERROR after a process
 * has written TEST_WRITE_BYTES there; unless the error is EIO, it does not fail inside the space that a file has, as on a disk that is full. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_refused(const char *call, const char *path) {
    const char *refused = getenv("TEST_REFUSED"), *volumes = getenv("TEST_VOLUMES");
    if (!refused || !volumes || !strstr(refused, call)) return 0;
    while (*volumes) {
        size_t length = strcspn(volumes, ":");
        if (length && !strncmp(path, volumes, length) && (path[length] == '/' || !path[length])) return 1;
        volumes += length + (volumes[length] == ':');
    }
    return 0;
}

static int is_refused_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_refused(call, path);
}

static int is_refused_at(const char *call, int folder, const char *path) {
    char whole[PATH_MAX];
    if (path[0] == '/') return is_refused(call, path);
    if (folder != AT_FDCWD) return is_refused_fd(call, folder);
    return getcwd(whole, sizeof whole) && is_refused(call, whole);
}

#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
#define REFUSE(condition, number) do { if (condition) { errno = number; return -1; } } while (0)

int flock(int fd, int operation) {
    REFUSE(is_refused_fd("flock", fd), ENOLCK);
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(fd, operation);
}

int chmod(const char *path, mode_t mode) {
    REFUSE(is_refused_at("chmod", AT_FDCWD, path), EPERM);
    return NEXT(chmod)(path, mode);
}

int fchmod(int fd, mode_t mode) {
    REFUSE(is_refused_fd("chmod", fd), EPERM);
    return NEXT(fchmod)(fd, mode);
}

int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    REFUSE(is_refused_at("chmod", folder, path), EPERM);
    return NEXT(fchmodat)(folder, path, mode, flags);
}

static int is_folder(int fd) {
    struct stat status;
    return !fstat(fd, &status) && S_ISDIR(status.st_mode);
}

int fsync(int fd) {
    REFUSE(is_folder(fd) && is_refused_fd("fsync", fd), EINVAL);
    return NEXT(fsync)(fd);
}

int fdatasync(int fd) {
    REFUSE(is_folder(fd) && is_refused_fd("fsync", fd), EINVAL);
    return NEXT(fdatasync)(fd);
}

int link(const char *old, const char *new) {
    REFUSE(is_refused_at("link", AT_FDCWD, new), EPERM);
    return NEXT(link)(old, new);
}

int linkat(int old_folder, const char *old, int new_folder, const char *new, int flags) {
    REFUSE(is_refused_at("link", new_folder, new), EPERM);
    return NEXT(linkat)(old_folder, old, new_folder, new, flags);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && is_refused_fd("mmap", fd)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return NEXT(mmap)(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    if (fd >= 0 && is_refused_fd("mmap", fd)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return NEXT(mmap64)(address, length, protection, flags, fd, offset);
}

static long long written;

static int write_error(int fd, off_t offset, size_t length) {
    const char *bytes = getenv("TEST_WRITE_BYTES"), *number = getenv("TEST_WRITE_ERROR");
    struct stat status;
    if (!bytes || !number || !is_refused_fd("write", fd)) return 0;
    int has_space = !fstat(fd, &status) && !(fcntl(fd, F_GETFL) & O_APPEND) && offset + (off_t)length <= status.st_size;
    if (has_space && atoi(number) != EIO) return 0;
    return __atomic_add_fetch(&written, (long long)length, __ATOMIC_SEQ_CST) > atoll(bytes) ? atoi(number) : 0;
}

static off_t position(int fd) {
    int before = errno;
    off_t offset = lseek(fd, 0, SEEK_CUR);
    errno = before;
    return offset < 0 ? 0 : offset;
}

#define REFUSE_WRITE(fd, offset, length) do { int number = write_error(fd, offset, length); REFUSE(number, number); } while (0)

ssize_t write(int fd, const void *data, size_t length) {
    REFUSE_WRITE(fd, position(fd), length);
    return NEXT(write)(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    REFUSE_WRITE(fd, offset, length);
    return NEXT(pwrite)(fd, data, length, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    REFUSE_WRITE(fd, offset, length);
    return NEXT(pwrite64)(fd, data, length, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    size_t length = 0;
    for (int index = 0; index < count; index++) length += parts[index].iov_len;
    REFUSE_WRITE(fd, position(fd), length);
    return NEXT(writev)(fd, parts, count);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t length) {
    REFUSE_WRITE(to, position(to), length);
    return NEXT(sendfile)(to, from, offset, length);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) {
    REFUSE_WRITE(to, position(to), length);
    return NEXT(sendfile64)(to, from, offset, length);
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length, unsigned int flags) {
    REFUSE_WRITE(to, to_offset ? *to_offset : position(to), length);
    return NEXT(copy_file_range)(from, from_offset, to, to_offset, length, flags);
}
