// How the consumer's thread subscribes, unsubscribes, and takes and gives back locks: the calls that wait for an answer.
import AMQPMessage
import CRabbitMQ

extension ConsumerLoop {
    // MARK: Subscribing

    /// - Returns: whether the broker was called.
    func subscribeWhereDue(_ connection: borrowing Connection) throws(AMQPError) -> Bool {
        var hasCalled = false
        for index in slots.indices where !slots[index].isSubscribed && slots[index].due <= .now {
            hasCalled = true
            do {
                try subscribe(index, connection)
            } catch {
                switch error {
                case .connection(let reason): throw reason
                case .argument(let reason), .channel(let reason):
                    forgetChannel(index)
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
        let queue = slots[index].subscription.queue
        if let channel = slots[index].channel {
            // Under another number: what is left of the old channel may still come.
            forgetChannel(index)
            try connection.closeChannel(channel)
        }
        generation += 1
        slots[index].generation = generation
        slots[index].ledger = AckLedger()
        slots[index].assembler = FrameAssembler(bodyLimit: slots[index].subscription.bodyLimit)
        do {
            try WireSize.checkShort(queue, "queue name")
            _ = try WireSize.table(slots[index].subscription.arguments)
        } catch {
            throw .argument(error)
        }
        let channel = try openChannel(connection)
        slots[index].channel = channel
        mapChannels()
        let prefetch = slots[index].subscription.prefetch
        _ = try connection.call(on: channel, "setting the prefetch") { amqp_basic_qos($0, channel, 0, prefetch, 0) }
        // Unique for every subscription of every process.
        let tag = "route-worker-\(generation)-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        // From here on deliveries may be waiting.
        try consume(slots[index].subscription, on: channel, as: tag, connection)
        slots[index].isSubscribed = true
        slots[index].failures.worked(now: .now)
        shared.state.withLock { $0.status.queues[index].isSubscribed = true }
        onEvent(.subscribed(queue: queue, generation: generation))
    }

    private func consume(
        _ subscription: Subscription, on channel: UInt16, as tag: String, _ connection: borrowing Connection
    ) throws(Failure) {
        let arena = Arena()
        let name = arena.bytes(subscription.queue)
        let arguments = arena.table(subscription.arguments)
        if subscription.consumers == 1 {
            let tag = arena.bytes(tag)
            _ = try connection.call(on: channel, "consuming queue '\(subscription.queue)'") {
                amqp_basic_consume($0, channel, name, tag, 0, 0, 0, arguments)
            }
            return
        }
        // In one write and without answers, which would come behind all that is delivered; a refusal closes the channel. The
        // broker begins one after another, and their tags sort as they begin.
        let tags = (0..<subscription.consumers).map { arena.bytes(tag + ($0 < 10 ? "-0\($0)" : "-\($0)")) }
        do {
            try connection.writing(limit: Self.writeLimit) { () throws(AMQPError) in
                for tag in tags { try connection.consumeWithoutAnswer(name, as: tag, arguments, on: channel) }
            }
        } catch {
            throw .connection(error)
        }
    }

    private func openChannel(_ connection: borrowing Connection) throws(Failure) -> UInt16 {
        guard let channel = numbers.take() else {
            throw .argument(.library(code: 0, text: "the broker allows no more channels on this connection"))
        }
        do {
            try connection.openChannel(channel)
        } catch {
            numbers.retire(channel)
            throw error
        }
        return channel
    }

    /// The slot's channel is, or is about to be, closed on both sides.
    func forgetChannel(_ index: Int) {
        guard let channel = slots[index].channel else { return }
        numbers.retire(channel)
        slots[index].channel = nil
        mapChannels()
    }

    func retryLater(_ index: Int) {
        let backoff = shared.configuration.backoff
        let failures = slots[index].failures.failed(now: .now, lasting: backoff.maximum)
        slots[index].due = .now + backoff.delay(afterFailures: failures, using: &random)
    }

    func lost(_ index: Int, _ error: AMQPError) {
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

    // MARK: Coming and going

    func add(_ subscription: Subscription) {
        if slots.contains(where: { $0.subscription.queue == subscription.queue }) { return }
        if let lock = subscription.lock, !locks.contains(lock) {
            // Lost since its holder was told that it has it, who will hear of that.
            onEvent(.subscriptionLost(queue: subscription.queue, generation: 0, .closed))
            return
        }
        slots.append(Slot(subscription))
        shared.state.withLock { $0.status.queues.append(ConsumerStatus.Queue(subscription)) }
    }

    func unsubscribe(_ queue: String, _ connection: borrowing Connection) throws(AMQPError) {
        guard let index = slots.firstIndex(where: { $0.subscription.queue == queue }) else { return }
        if let channel = slots[index].channel {
            forgetChannel(index)
            do {
                try connection.closeChannel(channel)
            } catch {
                switch error {
                case .connection(let reason):
                    remove(index, .closed)
                    throw reason
                // The broker has closed it at the same time.
                case .argument, .channel: break
                }
            }
        }
        remove(index, .closed)
    }

    /// Takes a slot without a channel away, and tells of it.
    func remove(_ index: Int, _ error: AMQPError) {
        let slot = slots.remove(at: index)
        batch.removeAll { $0.receipt.generation == slot.generation }
        mapChannels()
        _ = shared.state.withLock { $0.status.queues.remove(at: index) }
        onEvent(.subscriptionLost(queue: slot.subscription.queue, generation: slot.generation, error))
    }

    // MARK: Locks

    func acquire(_ lock: String, _ connection: borrowing Connection) throws(AMQPError) {
        if locks.contains(lock) { return onEvent(.lockHeld(lock)) }
        do throws(Failure) {
            try declareLock(lock, connection)
        } catch {
            switch error {
            case .connection(let reason):
                onEvent(.lockRefused(lock, reason))
                throw reason
            case .argument(let reason): return onEvent(.lockRefused(lock, reason))
            case .channel(let reason):
                forgetLockChannel()
                return onEvent(.lockRefused(lock, reason))
            }
        }
        locks.insert(lock)
        onEvent(.lockHeld(lock))
    }

    private func declareLock(_ lock: String, _ connection: borrowing Connection) throws(Failure) {
        do {
            try WireSize.checkShort(lock, "lock name")
        } catch {
            throw .argument(error)
        }
        let channel = try openLockChannel(connection)
        let arena = Arena()
        let name = arena.bytes(lock)
        // Classic whatever the virtual host's default is: no other type can be exclusive.
        let arguments = arena.table(["x-queue-type": .string("classic")])
        _ = try connection.call(on: channel, "taking the lock '\(lock)'") {
            amqp_queue_declare($0, channel, name, 0, 0, 1, 0, arguments)
        }
    }

    private func openLockChannel(_ connection: borrowing Connection) throws(Failure) -> UInt16 {
        if let lockChannel { return lockChannel }
        let channel = try openChannel(connection)
        lockChannel = channel
        return channel
    }

    private func forgetLockChannel() {
        guard let channel = lockChannel else { return }
        numbers.retire(channel)
        lockChannel = nil
    }

    /// Deletes the exclusive queue, after what it guards.
    func release(_ lock: String, _ connection: borrowing Connection) throws(AMQPError) {
        guard locks.contains(lock) else { return }
        for slot in slots where slot.subscription.lock == lock { try unsubscribe(slot.subscription.queue, connection) }
        do throws(Failure) {
            let channel = try openLockChannel(connection)
            let arena = Arena()
            let name = arena.bytes(lock)
            _ = try connection.call(on: channel, "giving back the lock '\(lock)'") {
                amqp_queue_delete($0, channel, name, 0, 0)
            }
        } catch {
            // Nobody else gets a lock that cannot be given back; it goes with the connection.
            throw error.error
        }
        locks.remove(lock)
        onEvent(.lockLost(lock, .closed))
    }

    /// The connection is gone, and with it every lock and what they guarded.
    func loseLocks(_ error: AMQPError) {
        let guarded = slots.indices.filter { slots[$0].subscription.lock != nil }
        for index in guarded.reversed() { remove(index, error) }
        for lock in locks.sorted() { onEvent(.lockLost(lock, error)) }
        locks = []
    }
}

extension ConsumerStatus.Queue {
    init(_ subscription: Subscription) {
        self.init(queue: subscription.queue, isSubscribed: false, outstanding: 0)
    }
}
