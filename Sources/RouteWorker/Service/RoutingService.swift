// The worker's life: connect, work, drain.

public import AMQP
public import Logging
public import ServiceLifecycle

/// Consumes commands until a graceful shutdown asks it to drain.
///
/// Draining takes nothing new, lets calls in flight finish, be recorded, announced and acknowledged, and then closes the
/// channels without `basic.cancel`, so that what was not started goes back to its queue in order.
public struct RoutingService: Service {
    private let consumer: AMQPConsumer
    private let pipeline: DeliveryPipeline
    private let parking: BrokerParkingLots
    private let drainTimeout: Duration
    private let logger: Logger

    /// - Parameter parking: what the pipeline parks orgs in; connects and closes with the consumer.
    public init(
        consumer: AMQPConsumer, pipeline: DeliveryPipeline, parking: BrokerParkingLots, drainTimeout: Duration,
        logger: Logger
    ) {
        self.consumer = consumer
        self.pipeline = pipeline
        self.parking = parking
        self.drainTimeout = drainTimeout
        self.logger = logger
    }

    public func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await pipeline.run(acknowledging: consumer.settle) }
            parking.start()
            // Before the first delivery: it must not overtake what was parked in an earlier life. Where the broker
            // cannot be asked yet, it delivers nothing either.
            await pipeline.lookForLeftOvers()
            consumer.start()
            group.addTask {
                try? await gracefulShutdown()
                await drain()
            }
            // A finished drain ends the pipeline; one that took too long cuts off the calls still under way.
            await group.next()
            group.cancelAll()
        }
        await consumer.close()
        await parking.close()
        logger.info("drained")
    }

    private func drain() async {
        var load = await pipeline.load
        logger.info(
            "draining",
            metadata: [
                LogKey.running: "\(load.running)", LogKey.paused: "\(load.paused)", LogKey.waiting: "\(load.waiting)",
            ])
        guard await !pipeline.drain(within: drainTimeout) else { return }
        load = await pipeline.load
        logger.warning(
            "the drain took too long; calls under way are cut off", metadata: [LogKey.running: "\(load.running)"])
    }
}
