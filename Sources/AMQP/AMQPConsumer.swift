// Consumes queues over one connection with a thread of its own.

/// A consumer of one or more queues: one connection, one channel per queue.
///
/// It connects, subscribes and, after a loss, connects and subscribes again by itself until it is closed. Everything it
/// has to say comes as ``ConsumerEvent`` on its own thread; deliveries are settled from any thread, in batches.
public final class AMQPConsumer: Sendable {
    private let shared: ConsumerShared
    private let subscriptions: [Subscription]
    private let onEvent: @Sendable (ConsumerEvent) -> Void

    /// Prepares a consumer; ``start()`` sets it going.
    /// - Parameter subscriptions: may be empty; see ``subscribe(_:)``.
    /// - Parameter onEvent: called on the consumer's thread, one call at a time.
    /// - Throws: ``AMQPError/library(code:text:)`` when the process has no file descriptor left.
    public init(
        _ configuration: AMQPConfiguration, subscriptions: [Subscription],
        onEvent: @escaping @Sendable (ConsumerEvent) -> Void
    ) throws(AMQPError) {
        shared = ConsumerShared(
            configuration: configuration, lifecycle: try Lifecycle(), subscriptions: subscriptions)
        self.subscriptions = subscriptions
        self.onEvent = onEvent
    }

    deinit { shared.lifecycle.stop() }

    /// Starts connecting. Later calls, and calls after a close, do nothing.
    public func start() {
        guard shared.lifecycle.start() else { return }
        let loop = { @Sendable [shared, subscriptions, onEvent] in
            ConsumerLoop(shared: shared, subscriptions: subscriptions, onEvent: onEvent).run()
        }
        if !IOThread.start(name: "amqp-consumer", loop) {
            shared.lifecycle.end()
            onEvent(.connectionLost(.library(code: 0, text: "the system has no thread left")))
        }
    }

    /// Settles deliveries; receipts of channels that are gone are dropped. Costs one lock and at most one wake-up.
    public func settle(_ batch: [Settlement]) {
        if batch.isEmpty { return }
        shared.state.withLock { $0.settlements.append(contentsOf: batch) }
        shared.lifecycle.wake.signal()
    }

    // MARK: Subscriptions that come and go

    /// Consumes one more queue, now and after every reconnect; one that is consumed already is left as it is.
    ///
    /// Callable from any thread, also before ``start()``. Calls of this and the following functions take effect in their
    /// order, each after the settlements that were handed in before it.
    public func subscribe(_ subscription: Subscription) { request(.subscribe(subscription)) }

    /// Consumes a queue no longer: sends the settlements handed in so far, then closes the channel.
    ///
    /// Without `basic.cancel`, after which the broker would give the queue to the next consumer while ours still holds
    /// the first messages: what is unsettled goes back in its order. ``ConsumerEvent/subscriptionLost(queue:generation:_:)``
    /// with ``AMQPError/closed`` tells that it is done. A queue that is not consumed is no error and is not told of.
    public func unsubscribe(_ queue: String) { request(.unsubscribe(queue: queue)) }

    // MARK: Locks

    /// Tries once to take a lock: an exclusive queue of this name, which only one connection can have, and which the
    /// broker deletes with its connection. Answered by ``ConsumerEvent/lockHeld(_:)`` or
    /// ``ConsumerEvent/lockRefused(_:_:)``.
    public func acquire(_ lock: String) { request(.acquire(lock: lock)) }

    /// Gives a lock back, after what was asked for before; what it guards is unsubscribed first where that was not done.
    /// Answered by ``ConsumerEvent/lockLost(_:_:)``; a lock that is not held is no error and is not told of.
    public func release(_ lock: String) { request(.release(lock: lock)) }

    private func request(_ request: ConsumerRequest) {
        shared.state.withLock { $0.requests.append(request) }
        shared.lifecycle.wake.signal()
    }

    public var status: ConsumerStatus { shared.state.withLock { $0.status } }

    /// Sends the acks that are waiting, then closes the channels and the connection, and returns when that is done or
    /// the limit is over.
    ///
    /// The subscriptions are not cancelled first: the broker would give the queue to the next consumer while ours still
    /// holds the first messages. Closing the channel hands back what is unsettled in its order.
    public func close(within limit: Duration = .seconds(5)) async {
        await shared.lifecycle.close(within: limit)
    }

    /// Drops the connection at once, acks not yet sent included. Does not wait.
    public func closeNow() { shared.lifecycle.stop() }
}

/// What callers ask of the consumer's thread.
enum ConsumerRequest: Sendable, Hashable {
    case subscribe(Subscription)
    case unsubscribe(queue: String)
    case acquire(lock: String)
    case release(lock: String)
}

/// What the consumer's callers and its thread share.
final class ConsumerShared: Sendable {
    struct State {
        var settlements: [Settlement] = []
        var requests: [ConsumerRequest] = []
        var status = ConsumerStatus()
    }

    let configuration: AMQPConfiguration
    let lifecycle: Lifecycle
    let state: Locked<State>

    init(configuration: AMQPConfiguration, lifecycle: Lifecycle, subscriptions: [Subscription]) {
        self.configuration = configuration
        self.lifecycle = lifecycle
        var initial = State()
        initial.status.queues = subscriptions.map(ConsumerStatus.Queue.init)
        state = Locked(initial)
    }
}
