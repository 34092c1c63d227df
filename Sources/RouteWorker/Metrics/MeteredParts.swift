// Decorators that measure the store and the publisher from outside.

public import AMQP
public import AMQPMessage
public import CoreMetrics
public import IdempotencyStore

/// Measures a backend's batches.
public struct MeteredStoreBackend<Backend: StoreBackend>: StoreBackend {
    private let backend: Backend
    private let health: HealthBoard
    private let size: Recorder
    private let time: CoreMetrics.Timer
    private let failures: Counter

    public init(_ backend: Backend, health: HealthBoard, factory: any MetricsFactory) {
        self.backend = backend
        self.health = health
        size = MetricCatalog.storeBatchSize.recorder(in: factory)
        time = MetricCatalog.storeBatchTime.timer(in: factory)
        failures = MetricCatalog.storeFailures.counter(in: factory)
    }

    public func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        let began = ContinuousClock.now
        size.record(batch.count)
        defer { time.recordNanoseconds((ContinuousClock.now - began).wholeNanoseconds) }
        do throws(StoreError) {
            let replies = try await backend.run(batch)
            health.storeAnswered(nil)
            return replies
        } catch {
            failures.increment()
            health.storeAnswered(error)
            throw error
        }
    }

    public func close() async { await backend.close() }
}

/// Measures how long the broker takes to confirm, and counts what becomes of messages.
public struct MeteredPublisher: MessagePublisher {
    private let publisher: any MessagePublisher
    private let time: CoreMetrics.Timer
    private let confirmed: Counter
    private let returned: Counter
    private let nacked: Counter
    private let refused: Counter
    private let failed: Counter

    public init(_ publisher: any MessagePublisher, factory: any MetricsFactory) {
        self.publisher = publisher
        time = MetricCatalog.confirmTime.timer(in: factory)
        confirmed = MetricCatalog.publishes.counter("confirmed", in: factory)
        returned = MetricCatalog.publishes.counter("returned", in: factory)
        nacked = MetricCatalog.publishes.counter("nacked", in: factory)
        refused = MetricCatalog.publishes.counter("refused", in: factory)
        failed = MetricCatalog.publishes.counter("failed", in: factory)
    }

    public func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome] {
        let began = ContinuousClock.now
        let outcomes = await publisher.publish(messages, timeout: timeout)
        var areConfirmed = true
        for outcome in outcomes {
            switch outcome {
            case .confirmed: confirmed.increment()
            case .returned: returned.increment()
            case .nacked: nacked.increment()
            case .refused: refused.increment()
            case .failed:
                failed.increment()
                areConfirmed = false
            }
        }
        // What was never confirmed has no time.
        if areConfirmed { time.recordNanoseconds((ContinuousClock.now - began).wholeNanoseconds) }
        return outcomes
    }
}
