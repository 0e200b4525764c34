/* control.c - see control.h */
#include "control.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control_socket.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"

#define CLOSE_WAITS 40 /* of 5 ms: how long an answer under way may take to leave */

/* One listener with its thread. */
struct door {
    struct control *control;
    struct MHD_Daemon *http;
    bool is_local; /* the UNIX socket: may give orders and see names */
};

struct control {
    struct control_options options;
    struct control_socket socket;
    struct door local, remote;
};

/* ---- answers ---- */

static enum MHD_Result send_response(struct MHD_Connection *connection, unsigned status, const char *type,
                                     struct MHD_Response *response)
{
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* One line of text. */
static enum MHD_Result send_line(struct MHD_Connection *connection, unsigned status, const char *line)
{
    char text[512];
    int length = snprintf(text, sizeof(text), "%s\n", line);

    if (length >= (int)sizeof(text))
        length = (int)sizeof(text) - 1;
    return send_response(connection, status, "text/plain; charset=utf-8",
                         MHD_create_response_from_buffer((size_t)length, text, MHD_RESPMEM_MUST_COPY));
}

/* Takes the text over. */
static enum MHD_Result send_text(struct MHD_Connection *connection, const char *type, char *text,
                                 size_t text_bytes)
{
    struct MHD_Response *response;

    if (!text)
        return send_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
    response = MHD_create_response_from_buffer(text_bytes, text, MHD_RESPMEM_MUST_FREE);
    if (!response)
        free(text);
    return send_response(connection, MHD_HTTP_OK, type, response);
}

static enum MHD_Result send_json(struct MHD_Connection *connection, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;

    json_decref(json);
    return send_text(connection, "application/json", text, text ? strlen(text) : 0);
}

/* ---- what can be asked for ---- */

static enum MHD_Result get_metrics(struct control *control, struct MHD_Connection *connection)
{
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);

    if (!out)
        return send_text(connection, NULL, NULL, 0);
    metrics_write(control->options.source, out);
    if (fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    return send_text(connection, "text/plain; version=0.0.4; charset=utf-8", text, text_bytes);
}

static enum MHD_Result get_status(struct control *control, struct MHD_Connection *connection)
{
    return send_json(connection, metrics_status(control->options.source));
}

static enum MHD_Result get_regions(struct control *control, struct MHD_Connection *connection)
{
    return send_json(connection, metrics_regions(control->options.source));
}

static enum MHD_Result post_reload(struct control *control, struct MHD_Connection *connection)
{
    char why[512] = "";
    int error = control->options.reload(control->options.context, why, sizeof(why));

    return send_line(connection, error ? MHD_HTTP_CONFLICT : MHD_HTTP_OK, error ? why : "reloaded");
}

static enum MHD_Result post_drain(struct control *control, struct MHD_Connection *connection)
{
    control->options.drain(control->options.context);
    return send_line(connection, MHD_HTTP_ACCEPTED, "draining");
}

#define GET  MHD_HTTP_METHOD_GET
#define POST MHD_HTTP_METHOD_POST

static const struct route {
    const char *path;
    const char *method;
    const char *allow; /* for the header Allow */
    bool local_only;
    enum MHD_Result (*answer)(struct control *control, struct MHD_Connection *connection);
} routes[] = {
    {"/metrics", GET, "GET, HEAD", false, get_metrics}, {"/status", GET, "GET, HEAD", true, get_status},
    {"/regions", GET, "GET, HEAD", true, get_regions},  {"/reload", POST, "POST", true, post_reload},
    {"/drain", POST, "POST", true, post_drain},
};

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    return NULL;
}

static enum MHD_Result send_wrong_method(struct MHD_Connection *connection, const char *allow)
{
    static char text[] = "wrong method for this path\n";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_PERSISTENT);

    if (response)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    return send_response(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", response);
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return (length && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

static enum MHD_Result answer(const struct door *door, struct MHD_Connection *connection, const char *path,
                              const char *method)
{
    const struct route *route = find_route(path);
    bool as_asked = route && (strcmp(method, route->method) == 0 ||
                              (strcmp(method, MHD_HTTP_METHOD_HEAD) == 0 && strcmp(route->method, GET) == 0));

    if (!route)
        return send_line(connection, MHD_HTTP_NOT_FOUND, "no such path");
    if (route->local_only && !door->is_local)
        return send_line(connection, MHD_HTTP_FORBIDDEN, "only on the control socket");
    if (!as_asked)
        return send_wrong_method(connection, route->allow);
    return route->answer(door->control, connection);
}

/* Called when the headers are there, for each piece of a body, and at the end. */
static enum MHD_Result take_request(void *context, struct MHD_Connection *connection, const char *path,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_bytes, void **state)
{
    static char headers_seen;

    (void)version;
    (void)upload;
    if (!*state) {
        *state = &headers_seen;
        return has_body(connection)
                   ? send_line(connection, MHD_HTTP_CONTENT_TOO_LARGE, "no request here has a body")
                   : MHD_YES;
    }
    if (*upload_bytes != 0)
        return MHD_NO; /* closes the connection */
    return answer(context, connection, path, method);
}

/* ---- listeners ---- */

__attribute__((format(printf, 2, 0))) static void take_log_line(void *context, const char *format,
                                                                va_list arguments)
{
    char line[256];

    (void)context;
    vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    log_limited(LOG_LEVEL_DEBUG, "control: %s", line);
}

/* The listening socket becomes the HTTP daemon's. When that does not start it may have closed the socket
 * already or not: it is left alone, since the process is about to end. */
static int open_door(struct door *door, int listen_fd)
{
    errno = EIO; /* unless the reason is known */
    door->http =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, take_request, door,
                         MHD_OPTION_EXTERNAL_LOGGER, take_log_line, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONTROL_CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONTROL_CONNECTION_MEMORY_BYTES,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONTROL_TIMEOUT_S, MHD_OPTION_END);
    return door->http ? 0 : -errno;
}

static int listen_tcp(const struct address *address, int *fd_out)
{
    int one = 1, error;
    int fd = socket(address->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t address_bytes = address->sa.sa_family == AF_INET6 ? sizeof(address->in6) : sizeof(address->in);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, &address->sa, address_bytes) != 0 || listen(fd, CONTROL_CONNECTIONS_MAX) != 0) {
        error = -errno;
        close(fd);
        return error;
    }
    *fd_out = fd;
    return 0;
}

static int open_local(struct control *control, char *why, size_t why_bytes)
{
    int fd, error = control_socket_open(control->options.socket_path, &control->socket, &fd, why, why_bytes);

    if (error)
        return error;
    error = open_door(&control->local, fd);
    if (error) {
        snprintf(why, why_bytes, "control_socket: the thread that serves %s did not start: %s",
                 control->options.socket_path, strerror(-error));
        control_socket_close(&control->socket);
    }
    return error;
}

static int open_remote(struct control *control, char *why, size_t why_bytes)
{
    char address[64];
    int fd = -1, error = listen_tcp(control->options.metrics, &fd);

    if (!error)
        error = open_door(&control->remote, fd);
    if (error)
        snprintf(why, why_bytes, "metrics.listen: cannot serve on %s: %s",
                 address_format(control->options.metrics, address, sizeof(address)), strerror(-error));
    return error;
}

int control_open(const struct control_options *options, struct control **control_out, char *why,
                 size_t why_bytes)
{
    struct control *control = calloc(1, sizeof(*control));
    int error = 0;

    if (!control) {
        snprintf(why, why_bytes, "out of memory");
        return -ENOMEM;
    }
    control->options = *options;
    control->local = (struct door){.control = control, .is_local = true};
    control->remote = (struct door){.control = control};
    if (options->socket_path)
        error = open_local(control, why, why_bytes);
    if (!error && options->metrics)
        error = open_remote(control, why, why_bytes);
    if (error) {
        control_close(control);
        return error;
    }
    *control_out = control;
    return 0;
}

/* The answer to POST /drain may be under way still, and gets a moment to leave. */
static void close_door(struct door *door)
{
    const struct timespec pause = {.tv_nsec = 5 * NS_PER_MS};
    int listen_fd = MHD_quiesce_daemon(door->http);

    for (unsigned waits = 0; waits < CLOSE_WAITS; waits++) {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(door->http, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

        if (!info || info->num_connections == 0)
            break;
        nanosleep(&pause, NULL);
    }
    MHD_stop_daemon(door->http);
    if (listen_fd >= 0)
        close(listen_fd);
}

void control_close(struct control *control)
{
    if (!control)
        return;
    if (control->remote.http)
        close_door(&control->remote);
    if (control->local.http) {
        close_door(&control->local);
        control_socket_close(&control->socket);
    }
    free(control);
}
