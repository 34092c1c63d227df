// What the consumer's thread does: read what is there, hand it out, send acks, do what was asked, sleep.
import AMQPMessage
import CRabbitMQ
import Failpoints

/// Lives on the consumer's thread; nobody else sees it.
final class ConsumerLoop {
    /// One queue, and its channel while it has one.
    struct Slot {
        let subscription: Subscription
        /// Open on the broker's side, though nothing may be consumed on it.
        var channel: UInt16?
        var generation: UInt64 = 0
        var isSubscribed = false
        var assembler: FrameAssembler
        var ledger = AckLedger()
        var failures = FailureCount()
        /// When to subscribe again.
        var due = ContinuousClock.now

        init(_ subscription: Subscription) {
            self.subscription = subscription
            assembler = FrameAssembler(bodyLimit: subscription.bodyLimit)
        }
    }

    /// Deliveries handed out in one go at most, so that acks are sent in between.
    static let batchLimit = 512
    /// How long a batch of acks, or of consumers, may take to write before the peer counts as frozen.
    static let writeLimit: Duration = .seconds(30)

    let shared: ConsumerShared
    let onEvent: (ConsumerEvent) -> Void
    /// In the order of the status' queues.
    var slots: [Slot]
    /// The index of the slot of each channel, counted from 1; `nil` where there is none.
    private var slotOfChannel: [Int?] = []
    var numbers = ChannelNumbers(limit: 0)
    var generation: UInt64 = 0
    var batch: [Delivery] = []
    /// Locks that this connection holds.
    var locks: Set<String> = []
    /// For calls about locks; a refusal costs it.
    var lockChannel: UInt16?
    private var settlements: [Settlement] = []
    private var requests: [ConsumerRequest] = []
    var random = SystemRandomNumberGenerator()

    init(
        shared: ConsumerShared, subscriptions: [Subscription], onEvent: @escaping @Sendable (ConsumerEvent) -> Void
    ) {
        self.shared = shared
        self.onEvent = onEvent
        slots = subscriptions.map(Slot.init)
    }

    func run() {
        Reconnecting(configuration: shared.configuration, lifecycle: shared.lifecycle).run(
            idle: takeRequestsWithoutConnection,
            retrying: { error, delay in
                shared.state.withLock { $0.status.lastError = error }
                onEvent(.retrying(error, after: delay))
            },
            serve: serve)
        shared.state.withLock { state in
            state.settlements = []
            state.requests = []
        }
        shared.lifecycle.end()
    }

    private func serve(_ connection: borrowing Connection) -> Ending {
        shared.state.withLock {
            $0.status.isConnected = true
            $0.status.lastHeard = .now
        }
        let ending: Ending
        numbers = ChannelNumbers(limit: connection.channelMax)
        do {
            try connection.takeLargerFrames()
            ending = try turn(connection)
        } catch {
            ending = shared.lifecycle.ending(error)
        }
        let error: AMQPError
        switch ending {
        case .closed: error = .closed
        case .lost(let reason): error = reason
        }
        lockChannel = nil
        for index in slots.indices {
            slots[index].channel = nil
            slots[index].failures = FailureCount()
            slots[index].due = .now
            // One after another, so that an unreadable message comes when its channel can be told, not in the middle of
            // another queue's subscribing.
            if case .lost(.unreadable) = ending { slots[index].due = .now + .seconds(index) }
            if slots[index].subscription.lock == nil { lost(index, error) }
        }
        slotOfChannel = []
        loseLocks(error)
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
            let hasMore = try drain(connection, &isReadable)
            if !hasMore { numbers.drained() }
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
            var hasCalled = try doWhatWasAsked(connection)
            if try subscribeWhereDue(connection) { hasCalled = true }
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

    // MARK: Channels

    func slot(on channel: UInt16) -> Int? {
        let index = Int(channel) - 1
        return slotOfChannel.indices.contains(index) ? slotOfChannel[index] : nil
    }

    /// Notes where each slot's channel is, after one has changed.
    func mapChannels() {
        slotOfChannel = []
        for (index, slot) in slots.enumerated() {
            guard let channel = slot.channel.map(Int.init) else { continue }
            while slotOfChannel.count < channel { slotOfChannel.append(nil) }
            slotOfChannel[channel - 1] = index
        }
    }

    // MARK: Settling

    private func sendSettlements(_ connection: borrowing Connection) throws(AMQPError) {
        settlements.removeAll(keepingCapacity: true)
        shared.state.withLock { state in
            swap(&state.settlements, &settlements)
            // Together with the settlements, so that a request comes after those which were handed in before it.
            if !state.requests.isEmpty {
                requests += state.requests
                state.requests = []
            }
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
        try connection.writing(limit: Self.writeLimit) { () throws(AMQPError) in
            var failure: AMQPError?
            for index in slots.indices where slots[index].isSubscribed {
                guard let channel = slots[index].channel else { continue }
                slots[index].ledger.flush { action in
                    guard failure == nil else { return }
                    do throws(AMQPError) {
                        try connection.send(action, on: channel)
                    } catch {
                        failure = error
                    }
                }
            }
            if let failure { throw failure }
        }
        Failpoint.afterAck.reached()
    }

    private func settle(_ receipt: Receipt, rejecting: Bool) {
        guard let index = slot(on: receipt.channel), slots[index].isSubscribed,
            slots[index].generation == receipt.generation
        else { return }
        slots[index].ledger.settle(receipt.deliveryTag, rejecting: rejecting)
    }

    // MARK: Requests

    /// Does what callers asked for.
    /// - Returns: whether the broker was called.
    private func doWhatWasAsked(_ connection: borrowing Connection) throws(AMQPError) -> Bool {
        if requests.isEmpty { return false }
        // One by one: when the connection is lost on the way, the rest is done without it.
        while let request = requests.first {
            requests.removeFirst()
            switch request {
            case .subscribe(let subscription): add(subscription)
            case .unsubscribe(let queue): try unsubscribe(queue, connection)
            case .acquire(let lock): try acquire(lock, connection)
            case .release(let lock): try release(lock, connection)
            }
            connection.releaseBuffers()
        }
        return true
    }

    /// While there is no connection, receipts are void and no lock can be had; subscriptions are noted.
    private func takeRequestsWithoutConnection() {
        let (asked, error) = shared.state.withLock { state in
            state.settlements.removeAll()
            defer { state.requests = [] }
            return (requests + state.requests, state.status.lastError)
        }
        requests = []
        for request in asked {
            switch request {
            case .subscribe(let subscription): add(subscription)
            case .unsubscribe(let queue):
                if let index = slots.firstIndex(where: { $0.subscription.queue == queue }) { remove(index, .closed) }
            case .acquire(let lock):
                onEvent(.lockRefused(lock, error ?? .connectionLost("there is no connection yet")))
            case .release: break
            }
        }
    }

    // MARK: Closing

    /// Channels first, without `basic.cancel`: see ``AMQPConsumer/close(within:)``.
    private func close(_ connection: borrowing Connection, by deadline: ContinuousClock.Instant) -> Ending {
        let limit = max(deadline - .now, .milliseconds(100))
        connection.setRPCTimeout(limit)
        connection.socket.limiting(limit) {
            do throws(Failure) {
                for slot in slots {
                    if let channel = slot.channel { try connection.closeChannel(channel) }
                }
                try connection.closeConnection()
            } catch {
                // The broker notices the closed socket, and hands back in order all the same.
            }
        }
        return .closed
    }
}
