// What the consumer's thread does: read what is there, hand it out, send acks, sleep.
import AMQPMessage
import CRabbitMQ

/// Lives on the consumer's thread; nobody else sees it.
final class ConsumerLoop {
    /// One queue and its channel.
    private struct Slot {
        let subscription: Subscription
        let channel: UInt16
        var generation: UInt64 = 0
        var isSubscribed = false
        var assembler: FrameAssembler
        var ledger = AckLedger()
        var failures = 0
        var subscribedAt = ContinuousClock.now
        /// When to subscribe again.
        var due = ContinuousClock.now
        /// The channel is open on the broker's side, though nothing is consumed on it.
        var isOpen = false
    }

    /// Deliveries handed out in one go at most, so that acks are sent in between.
    private static let batchLimit = 512
    /// How long a batch of acks may take to write before the peer counts as frozen.
    private static let writeLimit: Duration = .seconds(30)

    private let shared: ConsumerShared
    private let onEvent: (ConsumerEvent) -> Void
    private var slots: [Slot]
    private var generation: UInt64 = 0
    private var batch: [Delivery] = []
    private var settlements: [Settlement] = []
    private var random = SystemRandomNumberGenerator()

    init(
        shared: ConsumerShared, subscriptions: [Subscription], onEvent: @escaping @Sendable (ConsumerEvent) -> Void
    ) {
        self.shared = shared
        self.onEvent = onEvent
        slots = subscriptions.enumerated().map { index, subscription in
            Slot(
                subscription: subscription, channel: UInt16(index + 1),
                assembler: FrameAssembler(bodyLimit: subscription.bodyLimit))
        }
    }

    func run() {
        Reconnecting(configuration: shared.configuration, lifecycle: shared.lifecycle).run(
            idle: { shared.state.withLock { $0.settlements.removeAll() } },
            retrying: { error, delay in
                shared.state.withLock { $0.status.lastError = error }
                onEvent(.retrying(error, after: delay))
            },
            serve: serve)
        shared.state.withLock { $0.settlements = [] }
        shared.lifecycle.end()
    }

    private func serve(_ connection: borrowing Connection) -> Ending {
        shared.state.withLock {
            $0.status.isConnected = true
            $0.status.lastHeard = .now
        }
        let ending: Ending
        do {
            try connection.takeLargerFrames()
            ending = try turn(connection)
        } catch {
            ending = .lost(error)
        }
        for index in slots.indices {
            slots[index].isOpen = false
            slots[index].failures = 0
            slots[index].due = .now
            // One after another, so that an unreadable message comes when its channel can be told, not in the middle of
            // another queue's subscribing.
            if case .lost(.unreadable) = ending { slots[index].due = .now + .seconds(index) }
            let error: AMQPError
            switch ending {
            case .closed: error = .closed
            case .lost(let reason): error = reason
            }
            lost(index, error)
        }
        shared.state.withLock { $0.status.isConnected = false }
        if case .lost(let error) = ending { onEvent(.connectionLost(error)) }
        return ending
    }

    /// Turns round until the client closes or the connection is lost.
    private func turn(_ connection: borrowing Connection) throws(AMQPError) -> Ending {
        var isReadable = true
        while true {
            // Looked at before the settlements are taken: what was settled before the close is sent before it.
            let phase = shared.lifecycle.phase
            if isReadable { shared.state.withLock { $0.status.lastHeard = .now } }
            let hasMore = try drain(connection)
            if !batch.isEmpty {
                let deliveries = batch
                batch = []
                onEvent(.deliveries(deliveries))
            }
            try sendSettlements(connection)
            switch phase {
            case .running: break
            case .closing(let deadline): return close(connection, by: deadline)
            case .stopping, .ended: return .closed
            }
            let hasCalled = try subscribeWhereDue(connection)
            // The library may have read deliveries together with the answer to a call; `poll` would sleep on them.
            if hasMore || hasCalled { continue }
            isReadable = shared.lifecycle.wake.wait(socket: connection.descriptor, atMost: longestWait(connection))
        }
    }

    private func longestWait(_ connection: borrowing Connection) -> Duration {
        var wait = connection.longestWait
        for slot in slots where !slot.isSubscribed { wait = min(wait, max(slot.due - .now, .zero)) }
        return wait
    }

    // MARK: Reading

    /// Reads until nothing is there or the batch is full.
    /// - Returns: whether there may be more.
    private func drain(_ connection: borrowing Connection) throws(AMQPError) -> Bool {
        var frame = amqp_frame_t()
        while true {
            do {
                guard try connection.nextFrame(&frame) else { return false }
            } catch {
                if error == .unreadable { rejectUnread(Int(frame.channel) - 1, connection) }
                throw error
            }
            try take(frame, connection)
            connection.releaseBuffers()
            if batch.count >= Self.batchLimit { return true }
        }
    }

    /// A classic queue hands on property flags that librabbitmq cannot read, and would do so on every new connection.
    /// Seen for the second time, such a message is rejected; writing is still safe after a failed read.
    private func rejectUnread(_ index: Int, _ connection: borrowing Connection) {
        guard slots.indices.contains(index), slots[index].isSubscribed,
            case .deliver(let tag, true, let exchange, let routingKey)? = slots[index].assembler.begun
        else { return }
        try? connection.send(.reject(tag: tag), on: slots[index].channel)
        onEvent(
            .rejectedUnread(
                queue: slots[index].subscription.queue, exchange: exchange, routingKey: routingKey))
    }

    private func take(_ frame: amqp_frame_t, _ connection: borrowing Connection) throws(AMQPError) {
        let index = Int(frame.channel) - 1
        guard slots.indices.contains(index) else { return try takeConnectionFrame(frame, connection) }
        switch FrameReader.feed(frame, to: &slots[index].assembler) {
        case .none: return
        case .content(let content): try deliver(content, at: index)
        case .violation(let what): throw .protocolViolation(what)
        case .method(let method):
            switch method {
            case .cancel:
                // The channel stays open, but what it delivered belongs to a queue that is gone: start anew.
                lost(index, .cancelled(queue: slots[index].subscription.queue))
                retryLater(index)
            case .channelClose(let code, let text, _):
                try connection.confirmChannelClose(frame.channel)
                slots[index].isOpen = false
                lost(index, code == 403 ? .accessRefused(text) : .channelClosed(code: code, text: text))
                retryLater(index)
            case .deliver, .returned, .got, .gotNothing, .ack, .nack, .connectionClose, .blocked, .unblocked,
                .unexpected:
                throw .protocolViolation("a method that has no place on a consumer's channel")
            }
        }
    }

    private func takeConnectionFrame(_ frame: amqp_frame_t, _ connection: borrowing Connection) throws(AMQPError) {
        guard frame.channel == 0, Int32(frame.frame_type) == AMQP_FRAME_METHOD else {
            throw .protocolViolation("a frame on channel \(frame.channel), which is not open")
        }
        switch FrameReader.method(frame.payload.method) {
        // This connection does not publish, so an alarm does not concern it.
        case .blocked, .unblocked: return
        case .connectionClose(let code, let text):
            connection.confirmConnectionClose()
            throw .connectionClosed(code: code, text: text)
        case .deliver, .returned, .got, .gotNothing, .ack, .nack, .cancel, .channelClose, .unexpected:
            throw .protocolViolation("a method that has no place on channel 0")
        }
    }

    private func deliver(_ content: Content, at index: Int) throws(AMQPError) {
        guard case .deliver(let tag, let redelivered, let exchange, let routingKey) = content.method else {
            throw .protocolViolation("a message that is no delivery on a consumer's channel")
        }
        // After a cancel the rest of what was under way still comes in.
        guard slots[index].isSubscribed else { return }
        guard slots[index].ledger.delivered(tag) else { throw .protocolViolation("delivery tag \(tag) out of turn") }
        batch.append(
            Delivery(
                receipt: Receipt(
                    generation: slots[index].generation, channel: slots[index].channel, deliveryTag: tag),
                queue: slots[index].subscription.queue, exchange: exchange, routingKey: routingKey,
                redelivered: redelivered, message: content.message, isComplete: content.isComplete,
                skippedBodyBytes: content.skippedBodyBytes))
    }

    // MARK: Settling

    private func sendSettlements(_ connection: borrowing Connection) throws(AMQPError) {
        settlements.removeAll(keepingCapacity: true)
        shared.state.withLock { state in
            swap(&state.settlements, &settlements)
            for (index, slot) in slots.enumerated() {
                state.status.queues[index].outstanding = slot.isSubscribed ? slot.ledger.outstanding : 0
            }
        }
        if settlements.isEmpty { return }
        for settlement in settlements {
            switch settlement {
            case .ack(let receipt): settle(receipt, rejecting: false)
            case .reject(let receipt): settle(receipt, rejecting: true)
            }
        }
        var failure: AMQPError?
        connection.writing(limit: Self.writeLimit) {
            for index in slots.indices where slots[index].isSubscribed {
                let channel = slots[index].channel
                slots[index].ledger.flush { action in
                    guard failure == nil else { return }
                    do throws(AMQPError) {
                        try connection.send(action, on: channel)
                    } catch {
                        failure = error
                    }
                }
            }
        }
        if let failure { throw failure }
    }

    private func settle(_ receipt: Receipt, rejecting: Bool) {
        let index = Int(receipt.channel) - 1
        guard slots.indices.contains(index), slots[index].isSubscribed, slots[index].generation == receipt.generation
        else { return }
        slots[index].ledger.settle(receipt.deliveryTag, rejecting: rejecting)
    }

    // MARK: Subscribing

    /// - Returns: whether the broker was called.
    private func subscribeWhereDue(_ connection: borrowing Connection) throws(AMQPError) -> Bool {
        var hasCalled = false
        for index in slots.indices where !slots[index].isSubscribed && slots[index].due <= .now {
            hasCalled = true
            do {
                try subscribe(index, connection)
            } catch {
                switch error {
                case .connection(let reason): throw reason
                case .argument(let reason), .channel(let reason):
                    slots[index].isOpen = false
                    onEvent(
                        .subscriptionLost(
                            queue: slots[index].subscription.queue, generation: slots[index].generation, reason))
                    shared.state.withLock { $0.status.queues[index].lastError = reason }
                    retryLater(index)
                }
            }
            connection.releaseBuffers()
        }
        return hasCalled
    }

    private func subscribe(_ index: Int, _ connection: borrowing Connection) throws(Failure) {
        let channel = slots[index].channel
        let queue = slots[index].subscription.queue
        if slots[index].isOpen {
            try connection.closeChannel(channel)
            slots[index].isOpen = false
        }
        generation += 1
        slots[index].generation = generation
        slots[index].ledger = AckLedger()
        slots[index].assembler = FrameAssembler(bodyLimit: slots[index].subscription.bodyLimit)
        do {
            try WireSize.checkShort(queue, "queue name")
        } catch {
            throw .argument(error)
        }
        try connection.openChannel(channel)
        slots[index].isOpen = true
        let prefetch = slots[index].subscription.prefetch
        _ = try connection.call(on: channel, "setting the prefetch") { amqp_basic_qos($0, channel, 0, prefetch, 0) }
        let arena = Arena()
        let name = arena.bytes(queue)
        // Unique for every subscription of every process.
        let tag = arena.bytes("route-worker-\(generation)-\(String(UInt64.random(in: .min ... .max), radix: 36))")
        // From here on deliveries may be waiting.
        _ = try connection.call(on: channel, "consuming queue '\(queue)'") {
            amqp_basic_consume($0, channel, name, tag, 0, 0, 0, amqp_empty_table)
        }
        slots[index].isSubscribed = true
        slots[index].subscribedAt = .now
        shared.state.withLock { $0.status.queues[index].isSubscribed = true }
        onEvent(.subscribed(queue: queue, generation: generation))
    }

    private func retryLater(_ index: Int) {
        let backoff = shared.configuration.backoff
        if .now - slots[index].subscribedAt > backoff.maximum { slots[index].failures = 0 }
        slots[index].failures += 1
        slots[index].due = .now + backoff.delay(afterFailures: slots[index].failures, using: &random)
    }

    private func lost(_ index: Int, _ error: AMQPError) {
        guard slots[index].isSubscribed else { return }
        slots[index].isSubscribed = false
        // What was read of it and not handed out yet would come twice.
        let queue = slots[index].subscription.queue
        batch.removeAll { $0.receipt.generation == slots[index].generation }
        shared.state.withLock {
            $0.status.queues[index].isSubscribed = false
            $0.status.queues[index].outstanding = 0
            $0.status.queues[index].lastError = error
        }
        onEvent(.subscriptionLost(queue: queue, generation: slots[index].generation, error))
    }

    // MARK: Closing

    /// Channels first, without `basic.cancel`: see ``AMQPConsumer/close(within:)``.
    private func close(_ connection: borrowing Connection, by deadline: ContinuousClock.Instant) -> Ending {
        let limit = max(deadline - .now, .milliseconds(100))
        connection.setRPCTimeout(limit)
        connection.socket.limiting(limit) {
            do throws(Failure) {
                for slot in slots where slot.isOpen { try connection.closeChannel(slot.channel) }
                try connection.closeConnection()
            } catch {
                // The broker notices the closed socket, and hands back in order all the same.
            }
        }
        return .closed
    }
}
