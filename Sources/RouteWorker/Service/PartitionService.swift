// Takes and gives up partitions until this worker has its share of them.

public import AMQP
public import Logging
import Partitioning
public import RoutingContract
public import ServiceLifecycle

/// Carries out what ``ShareOut`` decides: observes the broker, takes locks, and serves the partitions whose locks are held.
///
/// The locks and everything that they guard live on the consumer's connection: when it breaks, all of it is free for others
/// at once. The service ends before the drain does; what it holds then is drained with all the rest.
public struct PartitionService: Service {
    private let configuration: AMQPConfiguration
    private let partitioned: PartitionedQueue
    private let subscriptions: [Subscription]
    private let inbox: PartitionInbox
    private let consumer: AMQPConsumer
    private let pipeline: DeliveryPipeline
    private let board: HealthBoard
    private let logger: Logger

    /// Each worker waits a little more or less, so that they do not look all at once.
    private static let interval = 0.75...1.25
    private static let retryInterval: Duration = .seconds(1)
    /// A quorum queue counts zero messages as long as it has no leader, as right after a restart of the broker, longer on a
    /// busy one: what is parked is looked for a few times more.
    private static let furtherLooks: [Duration] = [.seconds(5), .seconds(10), .seconds(30)]

    /// - Parameters:
    ///   - subscriptions: those of the partitions, in their order, each with its lock.
    ///   - inbox: gets what `consumer` tells.
    ///   - board: is told whether the partitions can be shared.
    public init(
        _ configuration: AMQPConfiguration, partitioned: PartitionedQueue, subscriptions: [Subscription],
        inbox: PartitionInbox, consumer: AMQPConsumer, pipeline: DeliveryPipeline, board: HealthBoard, logger: Logger
    ) {
        precondition(subscriptions.count == partitioned.count, "a subscription for each partition")
        self.configuration = configuration
        self.partitioned = partitioned
        self.subscriptions = subscriptions
        self.inbox = inbox
        self.consumer = consumer
        self.pipeline = pipeline
        self.board = board
        self.logger = logger
        board.show(partitions: "not looked at yet")
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await observe() }
                var desk = PartitionDesk(partitioned)
                for await event in inbox.events {
                    let workers = desk.workers
                    for step in desk.take(event) {
                        switch step {
                        case .acquire(let number): consumer.acquire(partitioned.lock(number))
                        case .takeOver(let numbers): group.addTask { await takeOver(numbers) }
                        case .consume(let number): consumer.subscribe(subscriptions[number])
                        case .handOver(let number, let tenure):
                            log("handing a partition over", number)
                            group.addTask { await handOver(number, tenure) }
                        case .leave(let number):
                            consumer.unsubscribe(partitioned.partition(number))
                            consumer.release(partitioned.lock(number))
                            log("handed a partition over", number)
                        case .join(let queue): consumer.subscribe(Subscription(queue: queue, prefetch: 1))
                        case .quit(let queue): consumer.unsubscribe(queue)
                        case .warn(let number, let error):
                            logger.warning(
                                "cannot take the lock of a partition: let the worker configure this queue",
                                metadata: [LogKey.queue: "\(partitioned.lock(number))", LogKey.error: "\(error)"])
                        }
                    }
                    if let now = desk.workers, now != workers {
                        logger.info("sharing the partitions", metadata: [LogKey.workers: "\(now)"])
                    }
                }
                group.cancelAll()
            }
        }
    }

    private func observe() async {
        var observer = PartitionObserver(partitioned: partitioned)
        var lastProblem: String?
        while !Task.isCancelled {
            do {
                try await AMQPAdmin.withConnection(configuration) { admin in
                    while true {
                        inbox.post(.observed(try await observer.look(admin), now: .now))
                        board.show(partitions: nil)
                        lastProblem = nil
                        try await Task.sleep(for: .seconds(Double.random(in: Self.interval)))
                    }
                }
            } catch is CancellationError {
                return
            } catch {
                let problem = "\(error)"
                board.show(partitions: problem)
                // Once: it is tried every second.
                if problem != lastProblem {
                    logger.warning("cannot share the partitions", metadata: [LogKey.error: "\(problem)"])
                }
                lastProblem = problem
            }
            try? await Task.sleep(for: Self.retryInterval)
        }
    }

    private func takeOver(_ numbers: [Int]) async {
        let taken = await pipeline.takeOver(numbers.map(partitioned.partition))
        if taken == nil { try? await Task.sleep(for: Self.retryInterval) }
        inbox.post(
            .tookOver(taken.map { names in numbers.filter { names.contains(partitioned.partition($0)) } }))
        guard let taken, !taken.isEmpty else { return }
        for pause in Self.furtherLooks {
            guard (try? await Task.sleep(for: pause)) != nil else { return }
            await pipeline.lookForLeftOvers(of: taken)
        }
    }

    private func handOver(_ number: Int, _ tenure: Int) async {
        if await pipeline.handOver(partitioned.partition(number)) { inbox.post(.handedOver(number, tenure: tenure)) }
    }

    private func log(_ text: Logger.Message, _ number: Int) {
        logger.info(text, metadata: [LogKey.queue: "\(partitioned.partition(number))"])
    }
}

/// What reaches a ``PartitionService`` from elsewhere.
public final class PartitionInbox: Sendable {
    enum Event: Sendable {
        case observed(ShareOut.Observation, now: ContinuousClock.Instant)
        case lockHeld(Int)
        case lockRefused(Int, AMQPError)
        case lockLost(Int)
        /// Those of the partitions asked for that may be consumed now; `nil` when the broker could not be asked.
        case tookOver([Int]?)
        case handedOver(Int, tenure: Int)
    }

    let events: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation
    private let numbers: [String: Int]

    public init(_ partitioned: PartitionedQueue) {
        (events, continuation) = AsyncStream.makeStream()
        numbers = Dictionary(uniqueKeysWithValues: partitioned.locks.enumerated().map { ($0.element, $0.offset) })
    }

    func post(_ event: Event) { continuation.yield(event) }

    /// Takes what the consumer tells, after ``DeliveryPipeline/receive(_:)``; callable from its thread.
    public func receive(_ event: ConsumerEvent) {
        switch event {
        case .lockHeld(let lock): if let number = numbers[lock] { post(.lockHeld(number)) }
        case .lockRefused(let lock, let error): if let number = numbers[lock] { post(.lockRefused(number, error)) }
        case .lockLost(let lock, _): if let number = numbers[lock] { post(.lockLost(number)) }
        case .deliveries, .subscribed, .subscriptionLost, .rejectedUnread, .connectionLost, .retrying: break
        }
    }
}
