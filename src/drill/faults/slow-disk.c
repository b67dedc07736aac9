/*
 * A slow disk for a command and all it starts: every fsync, fdatasync, sync and syncfs is held back
 * by as many milliseconds as the control file says at that moment, then goes on as it was. The kernel asks
 * (seccomp user notification, see seccomp_unotify(2)), so that programs which make their system calls
 * themselves, as Go's do, are held back as well; a preload shim would not reach them.
 *
 *   slow-disk CONTROL COMMAND [ARGUMENT ...]
 *
 * CONTROL holds eight bytes that are read anew for each call: a little-endian int32, the delay in ms,
 * and a uint32 that counts the calls that were held back. The command's exit code is this program's; a
 * process of its own goes on asking until the last process of the command is gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "an architecture this filter does not know"
#endif

typedef struct {
  _Atomic int32_t delay_ms;
  _Atomic uint32_t held_back;
} control;

enum { WAITING_MAX = 4096 };
typedef struct {
  uint64_t id;
  int64_t due_ns;
} waiting;

static void __attribute__((noreturn)) give_up(const char *what) {
  fprintf(stderr, "slow-disk: %s: %s\n", what, strerror(errno));
  _exit(125);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int install_filter(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fsync, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_syncfs, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) give_up("no_new_privs");
  /* A signal, such as Go's for preemption, must not make the call start over and wait anew. */
  unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  if (listener < 0) give_up("seccomp");
  return listener;
}

static void send_descriptor(int socket, int descriptor) {
  char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  if (sendmsg(socket, &message, 0) < 0) give_up("sendmsg");
}

static int receive_descriptor(int socket) {
  char byte, space[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0) give_up("the command could not be filtered");
  int descriptor;
  memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
  return descriptor;
}

static void go_on(int listener, uint64_t id) {
  struct seccomp_notif_resp answer = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  /* ENOENT: its process is gone. */
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) && errno != ENOENT) give_up("answer");
}

/* Until no process is left that the filter holds for. */
static void supervise(int listener, control *shared) {
  static waiting queue[WAITING_MAX];
  int length = 0;
  for (;;) {
    int64_t now = now_ns(), next = INT64_MAX;
    for (int i = 0; i < length;) {
      if (queue[i].due_ns <= now) {
        go_on(listener, queue[i].id);
        queue[i] = queue[--length];
        continue;
      }
      if (queue[i].due_ns < next) next = queue[i].due_ns;
      i++;
    }
    struct timespec wait = {(next - now) / 1000000000, (next - now) % 1000000000};
    struct pollfd on = {.fd = listener, .events = POLLIN};
    int ready = ppoll(&on, 1, next == INT64_MAX ? NULL : &wait, NULL);
    if (ready < 0 && errno != EINTR) give_up("poll");
    if (ready <= 0) continue;
    if (on.revents & POLLIN) {
      struct seccomp_notif call;
      memset(&call, 0, sizeof call);
      /* ENOENT: its process was killed meanwhile. */
      if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) {
        if (errno != ENOENT && errno != EINTR) give_up("receive");
        continue;
      }
      int32_t delay = shared->delay_ms;
      if (delay <= 0 || length == WAITING_MAX) {
        go_on(listener, call.id);
        continue;
      }
      shared->held_back++;
      queue[length++] = (waiting){call.id, now_ns() + (int64_t)delay * 1000000};
    } else if (on.revents & (POLLHUP | POLLERR)) {
      return;
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: slow-disk CONTROL COMMAND [ARGUMENT ...]\n");
    return 125;
  }
  int file = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof(control))) give_up(argv[1]);
  control *shared = mmap(NULL, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (shared == MAP_FAILED) give_up(argv[1]);
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)) give_up("socketpair");

  pid_t command = fork();
  if (command < 0) give_up("fork");
  if (command == 0) {
    int listener = install_filter();
    send_descriptor(sockets[1], listener);
    close(listener);
    execvp(argv[2], argv + 2);
    give_up(argv[2]);
  }
  close(sockets[1]);
  int listener = receive_descriptor(sockets[0]);
  pid_t supervisor = fork();
  if (supervisor < 0) give_up("fork");
  if (supervisor == 0) {
    setsid();
    /* Whoever waits for the command's output must not wait for this process. */
    int nothing = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++) dup2(nothing, i);
    supervise(listener, shared);
    _exit(0);
  }
  close(listener);
  int status;
  while (waitpid(command, &status, 0) < 0)
    if (errno != EINTR) give_up("wait");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
