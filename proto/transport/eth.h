/* eth.h - UDP over IPv4 or IPv6: the default transport
 *
 * A frame is a datagram. A client has a connected socket; a server has one bound socket to each worker, all
 * on one port, and the kernel hands each datagram to the worker whose session it names: a DATA record goes to
 * shard `receiver % shard_count` (a server therefore names its sessions so), every other record to a shard
 * chosen by a hash of the sender's address and port, so that the repeats of one client reach one worker.
 *
 * Frames up to `frame_bytes_max` travel in one piece as far as the first link is known. A longer one, or one
 * that meets a shorter link on its way, is cut up and put together by IP: slower, but not lost. `probe` sends
 * with "don't fragment", so that a session can find the longest frame that stays whole.
 *
 * Posted frames of one length to one peer go to the kernel by one system call, which makes datagrams of them
 * (UDP_SEGMENT); on the wire nothing differs. Where that is refused they go one by one.
 *
 * A client's socket is bound to the address that the route to the server had when it was connected. Where
 * that address is no longer ours nothing leaves (-ENETUNREACH); reconnecting takes the one of the route as it
 * is now.
 *
 * Everything but opening and closing enters the kernel directly, leaves errno alone, allocates nothing and
 * takes no lock: it is fit for a signal handler.
 */
#ifndef CXE_TRANSPORT_ETH_H
#define CXE_TRANSPORT_ETH_H

#include "transport.h"

/* A client's endpoint. Does not block: UDP has no connection to wait for. Negative errno of the socket calls;
 * -EAFNOSUPPORT: not an IP address. */
int eth_connect(const struct address *server, struct endpoint **endpoint_out);

/* A server's endpoint, number `shard` of `shard_count`. Open shard 0 first and the others in order, giving
 * them the address in shard 0's `local`, before clients come; close them together: the kernel numbers the
 * sockets of a port in the order of their coming. -EADDRINUSE: somebody has the port, another daemon too. */
int eth_listen(const struct address *local, unsigned shard, unsigned shard_count,
               struct endpoint **endpoint_out);

#endif
