// How a connection comes to be: socket, TLS, login, and what each failure means to whoever configured it.
import AMQPMessage
import CRabbitMQ
import Glibc

extension Connection {
    /// Connects, shakes hands and logs in; blocks, and without a limit while the host name is resolved.
    ///
    /// - Parameter heartbeats: off for connections whose thread is not always there to send them.
    static func open(
        _ endpoint: AMQPEndpoint, name: String, heartbeats: Bool = true, socket: SocketGuard
    ) throws(AMQPError) -> Connection {
        for text in [endpoint.host, endpoint.user, endpoint.password, endpoint.vhost] where text.utf8.contains(0) {
            throw .invalidConfiguration("host, user, password and virtual host cannot contain a NUL character")
        }
        try WireSize.checkShort(endpoint.vhost, "virtual host")
        var connection = try Connection(socket: socket, endpoint: endpoint)
        try connection.connect(endpoint)
        try connection.login(endpoint, name: name, heartbeats: heartbeats)
        Watchdog.shared.watch(socket)
        return connection
    }

    private mutating func connect(_ endpoint: AMQPEndpoint) throws(AMQPError) {
        let new: OpaquePointer?
        if let tls = endpoint.tls {
            new = try tlsSocket(tls)
        } else {
            new = amqp_tcp_socket_new(state)
        }
        guard let new else {
            throw .library(code: AMQP_STATUS_NO_MEMORY.rawValue, text: "no socket could be allocated")
        }
        var timeout = endpoint.connectionTimeout.timeInterval
        let status = amqp_socket_open_noblock(new, endpoint.host, Int32(endpoint.port), &timeout)
        if status != 0 { throw Self.connectError(status, endpoint) }

        let descriptor = amqp_get_sockfd(state)
        socket.attach(descriptor)
        // Best effort, each of them: a peer that is gone without a word is noticed by heartbeats, too.
        _ = crabbitmq_tcp_user_timeout(descriptor, 30_000)
        _ = crabbitmq_send_timeout(descriptor, 30)
        _ = crabbitmq_keepalive(descriptor, 30)
    }

    private func tlsSocket(_ tls: TLSSettings) throws(AMQPError) -> OpaquePointer? {
        guard let new = amqp_ssl_socket_new(state) else { return nil }
        guard let authorities = tls.certificateAuthorities ?? Self.systemAuthorities() else {
            throw .invalidConfiguration("no system CA bundle was found; name a CA file (cacertfile)")
        }
        if amqp_ssl_socket_set_cacert(new, authorities) != 0 { throw .tls(.unusableFile(authorities)) }
        if let certificate = tls.certificate, let key = tls.privateKey,
            amqp_ssl_socket_set_key(new, certificate, key) != 0
        {
            throw .tls(.unusableFile("\(certificate)' with key '\(key)"))
        }
        amqp_ssl_socket_set_verify_peer(new, 1)
        amqp_ssl_socket_set_verify_hostname(new, tls.checksHostName ? 1 : 0)
        let status = amqp_ssl_socket_set_ssl_versions(new, AMQP_TLSv1_2, AMQP_TLSvLATEST)
        if status != 0 { throw Self.libraryError(status) }
        return new
    }

    /// librabbitmq knows no default bundle. Debian, Fedora, openSUSE and Alpine keep theirs here.
    private static func systemAuthorities() -> String? {
        let files = [
            "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ]
        return files.first { access($0, R_OK) == 0 }
    }

    private static func connectError(_ status: Int32, _ endpoint: AMQPEndpoint) -> AMQPError {
        func unreachable(_ reason: String) -> AMQPError {
            .unreachable(host: endpoint.host, port: endpoint.port, reason: reason)
        }
        return switch status {
        case AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED.rawValue: unreachable("the host name cannot be resolved")
        case AMQP_STATUS_SOCKET_ERROR.rawValue, AMQP_STATUS_TCP_ERROR.rawValue:
            unreachable("connection refused or no route")
        case AMQP_STATUS_TIMEOUT.rawValue: .timeout("connecting to \(endpoint.host):\(endpoint.port)")
        case AMQP_STATUS_SSL_PEER_VERIFY_FAILED.rawValue: .tls(.untrustedCertificate)
        case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED.rawValue: .tls(.hostNameMismatch(endpoint.host))
        case AMQP_STATUS_SSL_CONNECTION_FAILED.rawValue, AMQP_STATUS_SSL_ERROR.rawValue: .tls(.handshake)
        default: libraryError(status)
        }
    }

    private mutating func login(_ endpoint: AMQPEndpoint, name: String, heartbeats: Bool) throws(AMQPError) {
        var handshake = endpoint.connectionTimeout.timeInterval
        amqp_set_handshake_timeout(state, &handshake)
        setRPCTimeout(endpoint.rpcTimeout)

        let arena = Arena()
        // librabbitmq announces some of these by itself, but not connection.blocked.
        let capabilities: FieldTable = [
            "connection.blocked": .boolean(true), "consumer_cancel_notify": .boolean(true),
            "publisher_confirms": .boolean(true), "authentication_failure_close": .boolean(true),
            "basic.nack": .boolean(true),
        ]
        var properties = arena.table([
            "connection_name": .string(name), "product": .string("route-worker"), "capabilities": .table(capabilities),
        ])
        let seconds = heartbeats ? Int32(min(endpoint.heartbeat.components.seconds, 65_535)) : 0
        let reply = crabbitmq_login_plain(
            state, endpoint.vhost, Int32(frameMax), seconds, &properties, endpoint.user, endpoint.password)
        do {
            try check(reply, on: 0, "logging in")
        } catch {
            throw Self.loginError(error.error, endpoint)
        }
        opened(encrypted: endpoint.tls != nil)
        // AMQP 0-9-1 §1.2: frames of 4096 bytes are the least that both sides must take.
        guard frameMax >= 4096 else { throw .protocolViolation("the broker wants frames of \(frameMax) bytes at most") }
    }

    private static func loginError(_ error: AMQPError, _ endpoint: AMQPEndpoint) -> AMQPError {
        switch error {
        case .accessRefused(let text) where text.contains("vhost"): noPermission(text, endpoint)
        case .accessRefused: .authenticationRefused(user: endpoint.user)
        case .connectionClosed(530, let text):
            text.contains("not found") ? .vhostMissing(endpoint.vhost) : noPermission(text, endpoint)
        case .connectionLost(let why):
            .connectionLost("\(why) during the login; is AMQP spoken on port \(endpoint.port)?")
        case .unreadable:
            .unreachable(
                host: endpoint.host, port: endpoint.port,
                reason: "what answers there does not speak AMQP; a broker does on port 5672, with TLS on 5671")
        default: error
        }
    }

    private static func noPermission(_ text: String, _ endpoint: AMQPEndpoint) -> AMQPError {
        .accessRefused("\(text): give user '\(endpoint.user)' permissions on virtual host '\(endpoint.vhost)'")
    }
}
