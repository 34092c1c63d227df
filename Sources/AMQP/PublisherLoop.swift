// What the publisher's thread does: read confirms, tell them, publish what the window allows, sleep.
import AMQPMessage
import CRabbitMQ
import Failpoints

/// Lives on the publisher's thread; nobody else sees it.
final class PublisherLoop {
    /// How often deadlines are looked at.
    private static let tick: Duration = .milliseconds(200)
    /// How long one turn's writes may take before the peer counts as frozen.
    private static let writeLimit: Duration = .seconds(30)
    /// Bytes written before confirms are looked at again.
    private static let bytesPerTurn = 1 << 20

    private let shared: PublisherShared
    private let limits: PublisherLimits
    private let onResults: ([PublishResult]) -> Void
    private let onEvent: (PublisherEvent) -> Void

    /// What is kept of a message in flight.
    private struct InFlight {
        let waiter: Waiter
        let deadline: ContinuousClock.Instant
        let exchange: String
    }

    private var backlog = Backlog()
    private var taken: [Outgoing] = []
    private var ledger = ConfirmLedger<InFlight>()
    private var assembler = FrameAssembler(bodyLimit: 0)
    private var results: [PublishResult] = []
    private var blockedBecause: String?
    private var lastError: AMQPError?
    private var nextExpiry = ContinuousClock.now
    private let arena = Arena()
    /// While above zero, messages go one at a time, because the broker closed the channel over one of several and did
    /// not say which: when it happens again, the guilty one is known.
    private var cautious = 0
    /// The window was full and has not half emptied since: filling it up again for every single confirm would cost a
    /// turn of the loop and a packet per message.
    private var isFull = false
    private var renewal = ChannelRenewal()
    /// 1 or 2, in turn: while librabbitmq waits for the end of a channel, it puts aside what still comes on it, and hands that
    /// out later.
    private var channel: UInt16 = 1

    init(
        shared: PublisherShared, limits: PublisherLimits, onResults: @escaping @Sendable ([PublishResult]) -> Void,
        onEvent: @escaping @Sendable (PublisherEvent) -> Void
    ) {
        self.shared = shared
        self.limits = limits
        self.onResults = onResults
        self.onEvent = onEvent
    }

    func run() {
        Reconnecting(configuration: shared.configuration, lifecycle: shared.lifecycle).run(
            idle: {
                takeIncoming()
                expire()
                tellResults()
            },
            retrying: { error, delay in
                lastError = error
                shared.state.withLock { $0.status.lastError = error }
                onEvent(.retrying(error, after: delay))
            },
            serve: serve)
        failAll(.closed)
        backlog.removeAll { tell($0, .failed(.closed)) }
        tellResults()
        shared.drop(onResults)
        shared.lifecycle.end()
    }

    private func serve(_ connection: borrowing Connection) -> Ending {
        assembler = FrameAssembler(bodyLimit: 0)
        let ending: Ending
        do throws(AMQPError) {
            try openChannel(connection)
            shared.state.withLock {
                $0.status.isConnected = true
                $0.status.lastHeard = .now
            }
            onEvent(.connected)
            ending = try turn(connection)
        } catch {
            ending = shared.lifecycle.ending(error)
        }
        if blockedBecause != nil {
            blockedBecause = nil
            onEvent(.unblocked)
        }
        shared.state.withLock {
            $0.status.isConnected = false
            $0.status.blockedBecause = nil
        }
        if case .lost(let error) = ending {
            failAll(error)
            onEvent(.connectionLost(error))
        }
        tellResults()
        return ending
    }

    private func openChannel(_ connection: borrowing Connection) throws(AMQPError) {
        do {
            try connection.openChannel(channel)
            try connection.selectConfirms(channel)
        } catch {
            throw error.error
        }
        connection.releaseBuffers()
        renewal.renewed(now: .now)
    }

    /// Replaces a channel on which the broker refuses what another one may be allowed to publish.
    private func renewChannel(_ connection: borrowing Connection) throws(AMQPError) {
        failAll(.channelReplaced)
        do {
            try connection.closeChannel(channel)
        } catch {
            throw error.error
        }
        channel = otherChannel
        assembler = FrameAssembler(bodyLimit: 0)
        try openChannel(connection)
        onEvent(.channelLost(.channelReplaced))
    }

    private var otherChannel: UInt16 { 3 - channel }

    /// Turns round until the client closes or the connection is lost.
    private func turn(_ connection: borrowing Connection) throws(AMQPError) -> Ending {
        var isReadable = true
        while true {
            // Looked at before the queue is taken: what was given before the close is published before it.
            let phase = shared.lifecycle.phase
            if isReadable { shared.state.withLock { $0.status.lastHeard = .now } }
            try drain(connection, &isReadable)
            takeIncoming()
            expire()
            let hasMore: Bool
            switch renewal.step(isIdle: ledger.isEmpty, isBlocked: blockedBecause != nil, now: .now) {
            case .publish: hasMore = try publishWhatFits(connection)
            case .hold: hasMore = false
            case .renew:
                try renewChannel(connection)
                hasMore = true
            }
            tellResults()
            switch phase {
            case .running: break
            case .closing(let deadline):
                if (ledger.isEmpty && backlog.isEmpty) || deadline <= .now {
                    return close(connection, by: deadline)
                }
            case .stopping, .ended: return .closed
            }
            if hasMore { continue }
            let isWaiting = !ledger.isEmpty || !backlog.isEmpty || phase != .running
            isReadable = shared.lifecycle.wake.wait(
                socket: connection.descriptor,
                atMost: isWaiting ? min(connection.longestWait, Self.tick) : connection.longestWait)
        }
    }

    // MARK: Taking and telling

    private func takeIncoming() {
        taken.removeAll(keepingCapacity: true)
        shared.state.withLock { state in
            swap(&state.incoming, &taken)
            state.status.queued = backlog.count + taken.count
            state.status.unconfirmed = ledger.count
        }
        for outgoing in taken {
            if !backlog.append(outgoing, limits: limits) { tell(outgoing.waiter, .failed(.queueFull)) }
        }
        taken.removeAll(keepingCapacity: true)
    }

    private func tell(_ waiter: Waiter, _ outcome: PublishOutcome) {
        if let result = waiter.resolve(outcome) { results.append(result) }
    }

    private func tellResults() {
        if results.isEmpty { return }
        let batch = results
        results = []
        onResults(batch)
    }

    /// Fails what has waited too long. What is in flight stays known, so that its confirm is not taken for another's.
    private func expire() {
        let now = ContinuousClock.now
        guard now >= nextExpiry else { return }
        nextExpiry = now + Self.tick
        ledger.abandon(where: { $0.deadline <= now }) { outgoing in
            tell(outgoing.waiter, .failed(.timeout("waiting for the broker's confirm")))
        }
        backlog.expire(at: now) { waiter in
            let why: AMQPError =
                if let blockedBecause {
                    .blocked(blockedBecause)
                } else {
                    lastError ?? .timeout("waiting to be published")
                }
            tell(waiter, .failed(why))
        }
    }

    private func failAll(_ error: AMQPError) {
        isFull = false
        ledger.failAll { outgoing, entry in
            if let returned = entry.returned {
                tell(outgoing.waiter, .returned(code: returned.code, text: returned.text))
            } else {
                tell(outgoing.waiter, .failed(error))
            }
        }
    }

    // MARK: Publishing

    /// - Returns: whether more could go out at once.
    private func publishWhatFits(_ connection: borrowing Connection) throws(AMQPError) -> Bool {
        guard blockedBecause == nil, !backlog.isEmpty else { return false }
        if isFull, ledger.count > limits.windowMessages / 2 || ledger.bytes > limits.windowBytes / 2 { return false }
        isFull = false
        let hasMore = try connection.writing(limit: Self.writeLimit) { () throws(AMQPError) in
            var written = 0
            while !backlog.isEmpty {
                if written > Self.bytesPerTurn { return true }
                guard let bytes = try publishNext(connection) else { return false }
                written += bytes
            }
            return false
        }
        Failpoint.afterPublish.reached()
        lastError = nil
        return hasMore
    }

    /// Publishes or refuses the next message.
    /// - Returns: the bytes written, or `nil` when it has to wait.
    private func publishNext(_ connection: borrowing Connection) throws(AMQPError) -> Int? {
        guard let outgoing = backlog.first else { return nil }
        let size: Int
        do {
            size = try WireSize.of(outgoing.message, frameMax: connection.frameMax)
        } catch {
            backlog.removeFirst()
            tell(outgoing.waiter, .refused(error))
            return 0
        }
        let window = cautious > 0 ? 1 : limits.windowMessages
        if ledger.count >= window || (!ledger.isEmpty && ledger.bytes + size > limits.windowBytes) {
            isFull = cautious == 0
            return nil
        }
        var key: ReturnKey?
        if outgoing.message.mandatory {
            let own = ReturnKey(
                messageID: outgoing.message.message.properties.messageID, exchange: outgoing.message.exchange,
                routingKey: outgoing.message.routingKey)
            if ledger.isInFlight(own) { return nil }
            key = own
        }
        backlog.removeFirst()
        // Noted first: when the write fails, the broker may have it all the same.
        ledger.published(
            InFlight(waiter: outgoing.waiter, deadline: outgoing.deadline, exchange: outgoing.message.exchange),
            key: key, bytes: size)
        if cautious > 0 { cautious -= 1 }
        try connection.publish(outgoing.message, on: channel, arena)
        return size
    }

    // MARK: Reading

    private func drain(_ connection: borrowing Connection, _ isReadable: inout Bool) throws(AMQPError) {
        var frame = amqp_frame_t()
        while try connection.nextFrame(&frame, isReadable: &isReadable) {
            try take(frame, connection)
            connection.releaseBuffers()
        }
    }

    private func take(_ frame: amqp_frame_t, _ connection: borrowing Connection) throws(AMQPError) {
        let action: AssemblerAction
        switch frame.channel {
        case channel: action = FrameReader.feed(frame, to: &assembler)
        case 0:
            var ofConnection = FrameAssembler(bodyLimit: 0)
            action = FrameReader.feed(frame, to: &ofConnection)
        // Of messages that were told to have failed with their channel.
        case otherChannel: return
        default: throw .protocolViolation("a frame on channel \(frame.channel), which is not open")
        }
        switch action {
        case .none: return
        case .violation(let what): throw .protocolViolation(what)
        case .content(let content): try takeReturn(content)
        case .method(let method): try takeMethod(method, connection)
        }
    }

    private func takeReturn(_ content: Content) throws(AMQPError) {
        guard case .returned(let code, let text, let exchange, let routingKey) = content.method else {
            throw .protocolViolation("a message on a publisher's channel that was not returned")
        }
        let key = ReturnKey(
            messageID: content.message.properties.messageID, exchange: exchange, routingKey: routingKey)
        if !ledger.returned(key, code: code, text: text) {
            throw .protocolViolation("a message was returned that was not published")
        }
    }

    private func takeMethod(_ method: IncomingMethod, _ connection: borrowing Connection) throws(AMQPError) {
        switch method {
        case .ack(let tag, let multiple): try confirm(tag, multiple: multiple, isNack: false)
        case .nack(let tag, let multiple): try confirm(tag, multiple: multiple, isNack: true)
        case .blocked(let reason):
            blockedBecause = reason
            shared.state.withLock { $0.status.blockedBecause = reason }
            onEvent(.blocked(reason))
        case .unblocked:
            blockedBecause = nil
            shared.state.withLock { $0.status.blockedBecause = nil }
            onEvent(.unblocked)
        case .channelClose(let code, let text, let isPublish):
            try connection.confirmChannelClose(channel)
            channelClosed(code: code, text: text, isPublish: isPublish)
            try openChannel(connection)
        case .connectionClose(let code, let text):
            connection.confirmConnectionClose()
            throw .connectionClosed(code: code, text: text)
        case .deliver, .returned, .got, .gotNothing, .cancel, .unexpected:
            throw .protocolViolation("a method that has no place on a publisher's channel")
        }
    }

    private func confirm(_ sequence: UInt64, multiple: Bool, isNack: Bool) throws(AMQPError) {
        let isKnown = ledger.confirmed(sequence, multiple: multiple, isNack: isNack) { outgoing, answer in
            switch answer {
            case .confirmed: tell(outgoing.waiter, .confirmed)
            case .returned(let code, let text): tell(outgoing.waiter, .returned(code: code, text: text))
            case .nacked: tell(outgoing.waiter, .nacked)
            }
        }
        if isNack { renewal.nacked(now: .now) } else { renewal.answered(now: .now) }
        if !isKnown { throw .protocolViolation("a confirm for \(sequence), which was not published") }
    }

    /// A publish that the broker objects to costs the channel. It does not say which one it was, and whoever publishes
    /// the failed ones again would do so for ever: so the guilty one must be found and refused.
    private func channelClosed(code: UInt16, text: String, isPublish: Bool) {
        let error: AMQPError = code == 403 ? .accessRefused(text) : .channelClosed(code: code, text: text)
        let isOnlyOne = ledger.count == 1 && !ledger.hasAbandoned
        var isFound = false
        var innocent = 0
        ledger.failAll { outgoing, entry in
            // 404 and 403 name the exchange: "no exchange 'x' in vhost '/'". Every message to it shares its fate.
            let isNamed =
                (code == 404 || code == 403) && !outgoing.exchange.isEmpty
                && text.contains("exchange '\(outgoing.exchange)'")
            if let returned = entry.returned {
                tell(outgoing.waiter, .returned(code: returned.code, text: returned.text))
            } else if isPublish && (isOnlyOne || isNamed) {
                isFound = true
                tell(outgoing.waiter, .refused(error))
            } else {
                innocent += 1
                tell(outgoing.waiter, .failed(error))
            }
        }
        if isPublish && !isFound { cautious = max(innocent, 1) * 2 }
        assembler = FrameAssembler(bodyLimit: 0)
        lastError = error
        shared.state.withLock { $0.status.lastError = error }
        onEvent(.channelLost(error))
    }

    private func close(_ connection: borrowing Connection, by deadline: ContinuousClock.Instant) -> Ending {
        let limit = max(deadline - .now, .milliseconds(100))
        connection.setRPCTimeout(limit)
        connection.socket.limiting(limit) {
            // The broker notices the closed socket as well.
            try? connection.closeConnection()
        }
        return .closed
    }
}
