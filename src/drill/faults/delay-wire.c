/*
 * Latency for packets that a netfilter queue hands over: each is kept for a while, in order, then goes
 * on. It stands in for netem where the kernel has none. The queue is opened in the network namespace
 * given by its path; the process itself stays where it was, so that nothing that befalls the machine
 * there befalls it. Speaks nfnetlink_queue itself (linux/netfilter/nfnetlink_queue.h).
 *
 *   delay-wire NAMESPACE QUEUE DELAY_MS JITTER_MS
 *
 * Says "ready" on standard output, works until standard input ends. Packets that wait then are lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAITING_MAX = 1 << 16, BUFFER_BYTES = 1 << 22 };
typedef struct {
  uint32_t id;
  int64_t due_ns;
} waiting;
static waiting ring[WAITING_MAX];
static uint32_t first, last;

static void __attribute__((noreturn)) give_up(const char *what) {
  fprintf(stderr, "delay-wire: %s: %s\n", what, strerror(errno));
  exit(125);
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int open_in(const char *path) {
  int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  int there = open(path, O_RDONLY | O_CLOEXEC);
  if (home < 0 || there < 0 || setns(there, CLONE_NEWNET)) give_up(path);
  int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (netlink < 0) give_up("netlink");
  if (setns(home, CLONE_NEWNET)) give_up("home");
  int bytes = BUFFER_BYTES, yes = 1;
  setsockopt(netlink, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  /* A packet that does not fit is lost, as on a wire; the queue stays. */
  setsockopt(netlink, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof yes);
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  if (bind(netlink, (struct sockaddr *)&address, sizeof address)) give_up("bind");
  return netlink;
}

typedef struct {
  char bytes[256];
  size_t length;
} message;

static void begin(message *to, uint16_t type, uint16_t flags, uint16_t queue) {
  memset(to, 0, sizeof *to);
  struct nlmsghdr *header = (struct nlmsghdr *)to->bytes;
  header->nlmsg_type = (NFNL_SUBSYS_QUEUE << 8) | type;
  header->nlmsg_flags = NLM_F_REQUEST | flags;
  struct nfgenmsg *general = (struct nfgenmsg *)(to->bytes + NLMSG_HDRLEN);
  general->nfgen_family = AF_UNSPEC;
  general->version = NFNETLINK_V0;
  general->res_id = htons(queue);
  to->length = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof *general);
}

static void add(message *to, uint16_t type, const void *data, size_t length) {
  struct nlattr *attribute = (struct nlattr *)(to->bytes + to->length);
  attribute->nla_type = type;
  attribute->nla_len = (uint16_t)(NLA_HDRLEN + length);
  memcpy((char *)attribute + NLA_HDRLEN, data, length);
  to->length += NLA_ALIGN(attribute->nla_len);
}

static void send_message(int netlink, message *what) {
  ((struct nlmsghdr *)what->bytes)->nlmsg_len = (uint32_t)what->length;
  if (send(netlink, what->bytes, what->length, 0) < 0) give_up("send");
}

static void configure(int netlink, uint16_t queue) {
  message request;
  begin(&request, NFQNL_MSG_CONFIG, NLM_F_ACK, queue);
  struct nfqnl_msg_config_cmd command = {.command = NFQNL_CFG_CMD_BIND};
  add(&request, NFQA_CFG_CMD, &command, sizeof command);
  /* Nothing of a packet is copied: only its number comes. */
  struct nfqnl_msg_config_params parameters = {.copy_range = 0, .copy_mode = NFQNL_COPY_META};
  add(&request, NFQA_CFG_PARAMS, &parameters, sizeof parameters);
  uint32_t length = htonl(WAITING_MAX - 1);
  add(&request, NFQA_CFG_QUEUE_MAXLEN, &length, sizeof length);
  uint32_t flags = htonl(NFQA_CFG_F_GSO);
  add(&request, NFQA_CFG_FLAGS, &flags, sizeof flags);
  add(&request, NFQA_CFG_MASK, &flags, sizeof flags);
  send_message(netlink, &request);
  char answer[4096];
  ssize_t length_of = recv(netlink, answer, sizeof answer, 0);
  if (length_of < 0) give_up("recv");
  struct nlmsghdr *header = (struct nlmsghdr *)answer;
  if (header->nlmsg_type == NLMSG_ERROR) {
    errno = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
    if (errno) give_up("queue");
  }
}

static void accept_up_to(int netlink, uint16_t queue, uint32_t id) {
  message verdict;
  begin(&verdict, NFQNL_MSG_VERDICT_BATCH, 0, queue);
  struct nfqnl_msg_verdict_hdr header = {.verdict = htonl(NF_ACCEPT), .id = htonl(id)};
  add(&verdict, NFQA_VERDICT_HDR, &header, sizeof header);
  send_message(netlink, &verdict);
}

static void take(const struct nlmsghdr *header, int64_t delay_ns, int64_t jitter_ns) {
  const char *at = (const char *)header + NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
  const char *end = (const char *)header + header->nlmsg_len;
  for (; at + NLA_HDRLEN <= end; at += NLA_ALIGN(((const struct nlattr *)at)->nla_len)) {
    const struct nlattr *attribute = (const struct nlattr *)at;
    if ((attribute->nla_type & NLA_TYPE_MASK) != NFQA_PACKET_HDR) continue;
    const struct nfqnl_msg_packet_hdr *packet = (const void *)(at + NLA_HDRLEN);
    int64_t due = now_ns() + delay_ns + (jitter_ns ? (int64_t)(drand48() * (double)jitter_ns) : 0);
    /* Never out of order: a wire does not overtake itself. */
    if (first != last && ring[(last - 1) % WAITING_MAX].due_ns > due)
      due = ring[(last - 1) % WAITING_MAX].due_ns;
    if (last - first < WAITING_MAX) ring[last++ % WAITING_MAX] = (waiting){ntohl(packet->packet_id), due};
    return;
  }
}

int main(int argc, char **argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: delay-wire NAMESPACE QUEUE DELAY_MS JITTER_MS\n");
    return 125;
  }
  uint16_t queue = (uint16_t)atoi(argv[2]);
  int64_t delay_ns = atoll(argv[3]) * 1000000, jitter_ns = atoll(argv[4]) * 1000000;
  int netlink = open_in(argv[1]);
  configure(netlink, queue);
  if (write(1, "ready\n", 6) < 0) return 1;
  static char buffer[BUFFER_BYTES];
  struct pollfd on[2] = {{.fd = netlink, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  for (;;) {
    int64_t now = now_ns();
    uint32_t ready = first;
    while (ready != last && ring[ready % WAITING_MAX].due_ns <= now) ready++;
    if (ready != first) {
      accept_up_to(netlink, queue, ring[(ready - 1) % WAITING_MAX].id);
      first = ready;
    }
    int64_t wait_ns = first == last ? 0 : ring[first % WAITING_MAX].due_ns - now;
    if (wait_ns < 0) wait_ns = 0;
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    if (ppoll(on, 2, first == last ? NULL : &wait, NULL) < 0 && errno != EINTR) give_up("poll");
    if (on[1].revents & (POLLIN | POLLHUP)) {
      char byte;
      if (read(0, &byte, 1) <= 0) return 0;
    }
    if (!(on[0].revents & POLLIN)) continue;
    ssize_t length = recv(netlink, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR) give_up("recv");
    for (struct nlmsghdr *header = (struct nlmsghdr *)buffer; length > 0 && NLMSG_OK(header, (size_t)length);
         header = NLMSG_NEXT(header, length))
      if (header->nlmsg_type == ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET))
        take(header, delay_ns, jitter_ns);
  }
}
