/* ofi.h - libfabric: for fabrics whose hosts trust each other
 *
 * Connected message endpoints (FI_EP_MSG) of a named provider; "tcp" is the one that is tested. A frame is a
 * message. No memory is ever exposed to remote access. The provider's parser trusts its peer, and no
 * encryption above can change that: hosts that may be hostile belong on eth.
 *
 * A client's endpoint is one connection. When it breaks, send and receive say -ECONNRESET from then on: close
 * it and connect anew; the session goes on over the new connection. A server's endpoint is a listener and up
 * to OFI_CONNECTIONS_MAX connections, each known by a number (an AF_UNSPEC address, never used twice). When
 * all are taken, a newcomer displaces the oldest connection that has carried nothing for OFI_SILENT_NS, or is
 * rejected. A peer that takes nothing for OFI_STALL_NS is disconnected. That a host has vanished is for the
 * session to notice: TCP tells late or never.
 *
 * Not async-signal-safe. The server has one listener and thus one shard.
 */
#ifndef CXE_TRANSPORT_OFI_H
#define CXE_TRANSPORT_OFI_H

#include "transport.h"

#define OFI_CONNECTIONS_MAX 512
#define OFI_RECEIVES        8  /* buffers posted for receiving, per connection */
#define OFI_SENDS           16 /* frames under way, per connection */
#define OFI_CONNECT_NS      (5 * NS_PER_S)
#define OFI_SILENT_NS       (2 * NS_PER_S)
#define OFI_STALL_NS        (10 * NS_PER_S)

/* Connects by `provider` ("tcp"); blocks up to OFI_CONNECT_NS. -ENOSYS: libfabric is not installed; -ENODEV:
 * no such provider, or it has no FI_EP_MSG; -EPERM: a provider that may not be used ("shm" installs signal
 * handlers of its own); -ECONNREFUSED, -ETIMEDOUT. The reason goes to the log. */
int ofi_connect(const char *provider, const struct address *server, struct endpoint **endpoint_out);

/* Listens at `local`. Errors as above; -EADDRINUSE. */
int ofi_listen(const char *provider, const struct address *local, struct endpoint **endpoint_out);

#endif
