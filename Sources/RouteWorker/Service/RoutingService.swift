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
    private let controls: ControlsStream?
    private let drainTimeout: Duration
    private let logger: Logger

    /// - Parameters:
    ///   - parking: what the pipeline parks orgs in; connects and closes with the consumer.
    ///   - controls: what operators say of orgs; `nil` where nobody may say anything.
    public init(
        consumer: AMQPConsumer, pipeline: DeliveryPipeline, parking: BrokerParkingLots, controls: ControlsStream?,
        drainTimeout: Duration, logger: Logger
    ) {
        self.consumer = consumer
        self.pipeline = pipeline
        self.parking = parking
        self.controls = controls
        self.drainTimeout = drainTimeout
        self.logger = logger
    }

    /// - Throws: ``ControlsError`` where nobody can say whether a command may be called for.
    public func run() async throws {
        if let controls, try await !obey(controls) { return logger.info("drained") }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await pipeline.run(acknowledging: consumer.settle) }
            group.addTask {
                try? await gracefulShutdown()
                await drain()
            }
            parking.start()
            await pipeline.findLeftOvers()
            consumer.start()
            if let controls {
                group.addTask { while let state = await controls.next() { await pipeline.use(state) } }
            }
            // A finished drain ends the pipeline; one that took too long cuts off the calls still under way.
            await group.next()
            group.cancelAll()
        }
        await consumer.close()
        await parking.close()
        await controls?.close()
        logger.info("drained")
    }

    /// Learns what operators have said, before the first delivery.
    ///
    /// - Returns: whether to go on; not so when the worker was asked to end meanwhile.
    private func obey(_ controls: ControlsStream) async throws -> Bool {
        do {
            let known = try await cancelWhenGracefulShutdown { try await controls.open() }
            await pipeline.use(known.state)
            return true
        } catch {
            await controls.close()
            guard error is CancellationError else { throw error }
            return false
        }
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
