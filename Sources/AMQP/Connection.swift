// One connection of librabbitmq: opened, used by one thread at a time, and freed.
import AMQPMessage
import CRabbitMQ

/// Owns an `amqp_connection_state_t`; nothing else frees it.
///
/// After any error other than a time limit while reading, the connection may only be destroyed: further calls on it can
/// end the process. `@unchecked Sendable`: it has one owner at a time, and neither the library nor what is kept beside it,
/// which is nobody else's, cares which thread.
struct Connection: ~Copyable, @unchecked Sendable {
    let state: amqp_connection_state_t
    let socket: SocketGuard
    /// Half a heartbeat, so that the library is called in time to send one.
    private(set) var longestWait = Duration.seconds(10)
    /// Less than that: a peer that is written to all the time, and says nothing, is to be noticed, too.
    private var longestSilence = Duration.seconds(5)
    private(set) var rpcTimeout: Duration
    private(set) var frameMax = Int(AMQP_DEFAULT_FRAME_SIZE)
    let user: String
    /// `nil` where the library encrypts, and so has to write itself.
    private var outbox: Outbox?
    private let lastRead = LastRead()

    /// When the library was last called to read, which is when it sees to the heartbeats. A class, since connections are
    /// borrowed.
    private final class LastRead {
        var at = ContinuousClock.now
    }

    init(socket: SocketGuard, endpoint: borrowing AMQPEndpoint) throws(AMQPError) {
        guard let state = amqp_new_connection() else {
            throw .library(code: AMQP_STATUS_NO_MEMORY.rawValue, text: "no connection could be allocated")
        }
        self.state = state
        self.socket = socket
        user = endpoint.user
        rpcTimeout = endpoint.rpcTimeout
    }

    deinit {
        socket.detach()
        amqp_destroy_connection(state)
    }

    /// Takes over what was agreed on as it logged in.
    mutating func opened(encrypted: Bool) {
        let seconds = amqp_get_heartbeat(state)
        if seconds > 0 { longestWait = .milliseconds(500 * seconds) }
        longestSilence = longestWait / 2
        frameMax = Int(amqp_get_frame_max(state))
        if !encrypted { outbox = Outbox(frameMax: frameMax) }
    }

    /// Takes in frames up to 1 MiB, whatever was agreed: a broker puts a message's headers into one frame together with
    /// what it adds to them (a count of deliveries, why it was dead-lettered), and librabbitmq breaks the connection over
    /// a frame above its limit. Only where nothing is published: the library splits bodies by the same limit.
    func takeLargerFrames() throws(AMQPError) {
        let seconds = Int32(amqp_get_heartbeat(state))
        let status = amqp_tune_connection(state, Int32(amqp_get_channel_max(state)), 1 << 20, seconds)
        if status != 0 { throw Self.libraryError(status) }
    }

    func setRPCTimeout(_ timeout: Duration) {
        var interval = timeout.timeInterval
        amqp_set_rpc_timeout(state, &interval)
    }

    /// A text among what the broker said of itself.
    func serverProperty(_ name: String) -> String? {
        guard let table = amqp_get_server_properties(state) else { return nil }
        let entries = UnsafeBufferPointer(start: table.pointee.entries, count: Int(table.pointee.num_entries))
        let entry = entries.first {
            $0.value.kind == UInt8(truncatingIfNeeded: AMQP_FIELD_KIND_UTF8.rawValue)
                && FrameReader.text($0.key) == name
        }
        return entry.map { FrameReader.text($0.value.value.bytes) }
    }

    // MARK: Frames

    /// The highest channel number that was agreed on.
    var channelMax: UInt16 { UInt16(clamping: amqp_get_channel_max(state)) }

    /// -1 once the library has closed it.
    var descriptor: Int32 { amqp_get_sockfd(state) }

    /// Reads the next frame where there may be one. An attempt that finds nothing costs the library two system calls, and
    /// a turn of a loop would end with one.
    ///
    /// - Parameter isReadable: whether the socket has something to read. What is read of it, the library holds until it
    ///   was asked for; if that was not all, `poll` says so again.
    /// - Returns: false when there is none.
    func nextFrame(_ frame: inout amqp_frame_t, isReadable: inout Bool) throws(AMQPError) -> Bool {
        if isReadable || !mayHoldInput {
            guard isReadable || .now - lastRead.at >= longestSilence else { return false }
            isReadable = false
            lastRead.at = .now
        }
        return try nextFrame(&frame)
    }

    /// Whether the library holds what was read and not asked for; of what is encrypted, it does not say.
    private var mayHoldInput: Bool {
        outbox == nil || amqp_frames_enqueued(state) != 0 || amqp_data_in_buffer(state) != 0
    }

    /// Reads the next frame if there is one within the limit; also sends and checks heartbeats.
    /// - Returns: false when there is none.
    func nextFrame(_ frame: inout amqp_frame_t, within limit: Duration? = nil) throws(AMQPError) -> Bool {
        // A null time limit would wait for ever; zero does not wait.
        var interval = limit?.timeInterval ?? timeval()
        let status = amqp_simple_wait_frame_noblock(state, &frame, &interval)
        if status == AMQP_STATUS_OK.rawValue { return true }
        if status == AMQP_STATUS_TIMEOUT.rawValue { return false }
        throw Self.libraryError(status)
    }

    /// Ends the life of what the last frame points to, and of everything an RPC returned.
    func releaseBuffers() { amqp_maybe_release_buffers(state) }

    // MARK: Sending

    /// Runs calls that write several frames, which leave together. A peer that takes nothing for `limit` counts as
    /// frozen, and the socket is shut down.
    func writing<Result>(
        limit: Duration, _ calls: () throws(AMQPError) -> Result
    ) throws(AMQPError) -> Result {
        guard let outbox else { return try corked { () throws(AMQPError) in try socket.limiting(limit, calls) } }
        outbox.isHeld = true
        defer { outbox.isHeld = false }
        return try socket.limiting(limit) { () throws(AMQPError) in
            let result = try calls()
            try outbox.flush(to: descriptor)
            return result
        }
    }

    /// librabbitmq makes two or three small writes of each message and switches Nagle's algorithm off: without the cork
    /// each message would be a packet of its own.
    private func corked<Result>(_ calls: () throws(AMQPError) -> Result) throws(AMQPError) -> Result {
        let descriptor = descriptor
        _ = crabbitmq_tcp_cork(descriptor, 1)
        defer {
            // The library closes the socket itself after some errors; the number may be somebody else's by then.
            if self.descriptor == descriptor { _ = crabbitmq_tcp_cork(descriptor, 0) }
        }
        return try calls()
    }

    func publish(
        _ outgoing: OutgoingMessage, on channel: UInt16, _ arena: borrowing Arena
    ) throws(AMQPError) {
        defer { arena.recycle() }
        var properties = arena.properties(outgoing.message.properties)
        let exchange = arena.bytes(outgoing.exchange)
        let routingKey = arena.bytes(outgoing.routingKey)
        func write(_ body: UnsafeRawBufferPointer) throws(AMQPError) {
            if let outbox {
                var method = amqp_basic_publish_t(
                    ticket: 0, exchange: exchange, routing_key: routingKey, mandatory: outgoing.mandatory ? 1 : 0,
                    immediate: 0)
                try outbox.add(AMQP_BASIC_PUBLISH_METHOD, &method, on: channel, to: descriptor)
                return try outbox.add(&properties, body, on: channel, to: descriptor)
            }
            // The library only reads the body.
            let bytes = amqp_bytes_t(len: body.count, bytes: UnsafeMutableRawPointer(mutating: body.baseAddress))
            let status = amqp_basic_publish(
                state, channel, exchange, routingKey, outgoing.mandatory ? 1 : 0, 0, &properties, bytes)
            if status != 0 { throw Self.libraryError(status) }
        }
        try outgoing.message.body.withUnsafeBytes { body in
            Result { () throws(AMQPError) in try write(body) }
        }.get()
    }

    func send(_ action: AckAction, on channel: UInt16) throws(AMQPError) {
        switch action {
        case .ack(let tag, let multiple):
            var method = amqp_basic_ack_t(delivery_tag: tag, multiple: multiple ? 1 : 0)
            try send(AMQP_BASIC_ACK_METHOD, &method, on: channel)
        case .reject(let tag):
            var method = amqp_basic_reject_t(delivery_tag: tag, requeue: 0)
            try send(AMQP_BASIC_REJECT_METHOD, &method, on: channel)
        }
    }

    /// Sends a method that is not waited for.
    private func send<Fields: BitwiseCopyable>(
        _ method: amqp_method_number_t, _ fields: inout Fields, on channel: UInt16
    ) throws(AMQPError) {
        if let outbox { return try outbox.add(method, &fields, on: channel, to: descriptor) }
        let status = amqp_send_method(state, channel, method, &fields)
        if status != 0 { throw Self.libraryError(status) }
    }

    func consumeWithoutAnswer(
        _ queue: amqp_bytes_t, as tag: amqp_bytes_t, _ arguments: amqp_table_t, on channel: UInt16
    ) throws(AMQPError) {
        var method = amqp_basic_consume_t(
            ticket: 0, queue: queue, consumer_tag: tag, no_local: 0, no_ack: 0, exclusive: 0, nowait: 1,
            arguments: arguments)
        try send(AMQP_BASIC_CONSUME_METHOD, &method, on: channel)
    }

    /// Answers the broker's `channel.close`; the number may then be opened again.
    func confirmChannelClose(_ channel: UInt16) throws(AMQPError) {
        var method = amqp_channel_close_ok_t()
        try send(AMQP_CHANNEL_CLOSE_OK_METHOD, &method, on: channel)
    }

    /// Answers the broker's `connection.close`; whether it still gets there does not matter.
    func confirmConnectionClose() {
        guard descriptor >= 0 else { return }
        var method = amqp_connection_close_ok_t()
        try? send(AMQP_CONNECTION_CLOSE_OK_METHOD, &method, on: 0)
    }

    // MARK: Calls that wait for the broker's answer

    /// Runs one call of the library and says how it failed. The result lives until the buffers are released.
    func call<Reply>(
        on channel: UInt16, _ what: String, _ body: (amqp_connection_state_t) -> UnsafeMutablePointer<Reply>?
    ) throws(Failure) -> UnsafeMutablePointer<Reply> {
        guard descriptor >= 0 else { throw .connection(.connectionLost("the socket is closed")) }
        if let reply = body(state) { return reply }
        try check(amqp_get_rpc_reply(state), on: channel, what)
        throw .connection(.library(code: 0, text: "no reply \(what)"))
    }

    func openChannel(_ channel: UInt16) throws(Failure) {
        _ = try call(on: channel, "opening a channel") { amqp_channel_open($0, channel) }
    }

    func selectConfirms(_ channel: UInt16) throws(Failure) {
        _ = try call(on: channel, "asking for confirms") { amqp_confirm_select($0, channel) }
    }

    func closeChannel(_ channel: UInt16) throws(Failure) {
        guard descriptor >= 0 else { throw .connection(.connectionLost("the socket is closed")) }
        try check(amqp_channel_close(state, channel, Int32(AMQP_REPLY_SUCCESS)), on: channel, "closing a channel")
    }

    func closeConnection() throws(Failure) {
        guard descriptor >= 0 else { throw .connection(.connectionLost("the socket is closed")) }
        try check(amqp_connection_close(state, Int32(AMQP_REPLY_SUCCESS)), on: 0, "closing the connection")
    }

    /// Takes the next message of a queue; `nil` when it is empty. Unlike the library's own reading of messages, with a
    /// time limit in mid-message, and with headers that the library cannot copy.
    func get(from queue: amqp_bytes_t, on channel: UInt16) throws(Failure) -> Content? {
        guard descriptor >= 0 else { throw .connection(.connectionLost("the socket is closed")) }
        do throws(AMQPError) {
            var method = amqp_basic_get_t(ticket: 0, queue: queue, no_ack: 0)
            try send(AMQP_BASIC_GET_METHOD, &method, on: channel)
        } catch {
            throw .connection(error)
        }
        var assembler = FrameAssembler(bodyLimit: .max)
        while true {
            switch try nextAction(&assembler, on: channel) {
            case .none: break
            case .content(let content): return content
            case .method(.gotNothing): return nil
            case .method(.channelClose(let code, let text, _)):
                try answerChannelClose(channel, code: code, text: text)
            case .method(.connectionClose(let code, let text)):
                confirmConnectionClose()
                throw .connection(.connectionClosed(code: code, text: text))
            case .method(.blocked), .method(.unblocked): break
            case .method: throw .connection(.protocolViolation("an unexpected answer to basic.get"))
            case .violation(let what): throw .connection(.protocolViolation(what))
            }
        }
    }

    private func nextAction(_ assembler: inout FrameAssembler, on channel: UInt16) throws(Failure) -> AssemblerAction {
        do throws(AMQPError) {
            var frame = amqp_frame_t()
            guard try nextFrame(&frame, within: rpcTimeout) else { throw AMQPError.timeout("getting a message") }
            defer { releaseBuffers() }
            if frame.channel == channel { return FrameReader.feed(frame, to: &assembler) }
            var ofConnection = FrameAssembler(bodyLimit: 0)
            return FrameReader.feed(frame, to: &ofConnection)
        } catch {
            throw .connection(error)
        }
    }

    private func answerChannelClose(_ channel: UInt16, code: UInt16, text: String) throws(Failure) -> Never {
        do {
            try confirmChannelClose(channel)
        } catch {
            throw .connection(error)
        }
        throw .channel(code == 403 ? .accessRefused(text) : .channelClosed(code: code, text: text))
    }

    func check(_ reply: amqp_rpc_reply_t, on channel: UInt16, _ what: String) throws(Failure) {
        switch reply.reply_type {
        case AMQP_RESPONSE_NORMAL: return
        case AMQP_RESPONSE_SERVER_EXCEPTION:
            switch FrameReader.method(reply.reply) {
            case .channelClose(let code, let text, _):
                try answerChannelClose(channel, code: code, text: text)
            case .connectionClose(let code, let text):
                confirmConnectionClose()
                throw .connection(code == 403 ? .accessRefused(text) : .connectionClosed(code: code, text: text))
            default: throw .connection(.protocolViolation("an unexpected answer \(what)"))
            }
        case AMQP_RESPONSE_LIBRARY_EXCEPTION:
            if reply.library_error == AMQP_STATUS_TIMEOUT.rawValue { throw .connection(.timeout(what)) }
            throw .connection(Self.libraryError(reply.library_error))
        default: throw .connection(.connectionLost("end of stream \(what)"))
        }
    }

    static func libraryError(_ status: Int32) -> AMQPError {
        switch status {
        case AMQP_STATUS_CONNECTION_CLOSED.rawValue, AMQP_STATUS_SOCKET_CLOSED.rawValue:
            .connectionLost("the broker closed the socket")
        case AMQP_STATUS_SOCKET_ERROR.rawValue, AMQP_STATUS_TCP_ERROR.rawValue, AMQP_STATUS_SSL_ERROR.rawValue:
            .connectionLost("the socket failed")
        case AMQP_STATUS_BAD_AMQP_DATA.rawValue: .unreadable
        case AMQP_STATUS_HEARTBEAT_TIMEOUT.rawValue: .connectionLost("no heartbeat from the broker")
        case AMQP_STATUS_TIMEOUT.rawValue: .timeout("waiting for the broker")
        default: .library(code: status, text: String(cString: amqp_error_string2(status)))
        }
    }
}
