// Sets the gauges from what was looked at.

public import CoreMetrics
import IdempotencyStore
import PrometheusMetrics
import RoutingContract
import Synchronization

/// All gauges of a worker. Series of orgs, queues and files that have gone go with them.
public final class GaugeBoard: Sendable {
    private struct State {
        /// By family, then by the values of its labels.
        var meters: [String: [[String]: Meter]] = [:]
        var droppedLines = 0
    }

    private let factory: any MetricsFactory
    private let prefetch: [(queue: String, count: Int)]
    private let deadLetterQueue: String
    private let dropped: Counter
    private let state = Mutex(State())

    /// - Parameters:
    ///   - prefetch: of each commands queue.
    ///   - deadLetterQueue: whose messages have a gauge of their own.
    public init(
        factory: any MetricsFactory, worker: String, version: String, prefetch: [(queue: String, count: Int)],
        deadLetterQueue: String
    ) {
        self.factory = factory
        self.prefetch = prefetch
        self.deadLetterQueue = deadLetterQueue
        dropped = MetricCatalog.linesDropped.counter(in: factory)
        show(MetricCatalog.info, [[worker, version]: 1])
    }

    /// What the probes say by now.
    public func show(isLive: Bool, isReady: Bool) {
        show(MetricCatalog.live, isLive ? 1 : 0)
        show(MetricCatalog.ready, isReady ? 1 : 0)
    }

    func show(_ sample: WorkerSample, droppedLines: Int) {
        let pipeline = sample.pipeline
        show(MetricCatalog.inFlight, Double(pipeline.running))
        show(MetricCatalog.slots, Double(pipeline.slots))
        show(MetricCatalog.paused, Double(pipeline.paused))
        show(MetricCatalog.waiting, Double(pipeline.waiting + pipeline.heldBack))
        show(MetricCatalog.lanes, Double(pipeline.lanes))
        show(MetricCatalog.oldestTransfer, Double(pipeline.oldestTransfer.wholeMilliseconds) / 1000)

        show(MetricCatalog.parkedOrgs, Double(pipeline.orgs.filter(\.isParked).count))
        show(MetricCatalog.orgIsParked, pipeline.orgs.map { ([$0.alias], $0.isParked ? 1 : 0) })
        show(MetricCatalog.orgIsPaused, pipeline.orgs.map { ([$0.alias], $0.isPaused ? 1 : 0) })
        show(MetricCatalog.orgMode, pipeline.orgs.map { ([$0.alias, $0.mode], 1) })
        show(MetricCatalog.breakerIsOpen, pipeline.orgs.map { ([$0.alias], $0.breakerIsOpen ? 1 : 0) })
        show(MetricCatalog.orgConcurrency, pipeline.orgs.map { ([$0.alias], Double($0.concurrency)) })
        show(MetricCatalog.tokenIsMissing, sample.tokenProblems.keys.map { ([$0], 1) })

        show(MetricCatalog.unacknowledged, sample.consumer.queues.map { ([$0.queue], Double($0.outstanding)) })
        show(MetricCatalog.consuming, sample.consumer.queues.map { ([$0.queue], $0.isSubscribed ? 1 : 0) })
        let consumed = Set(sample.consumer.queues.map(\.queue))
        let ofConsumed = prefetch.filter { consumed.contains($0.queue) }
        show(MetricCatalog.prefetch, ofConsumed.map { ([$0.queue], Double($0.count)) })
        var connections = sample.publishers.mapValues(\.isConnected)
        connections["consumer"] = sample.consumer.isConnected
        show(MetricCatalog.connected, connections.map { ([$0.key], $0.value ? 1 : 0) })
        let commandsQueues = sample.queues.filter { $0.name != deadLetterQueue }
        show(MetricCatalog.queueMessages, commandsQueues.map { ([$0.name], Double($0.messages)) })
        show(MetricCatalog.queueConsumers, commandsQueues.map { ([$0.name], Double($0.consumers)) })
        let deadLetters = sample.queues.filter { $0.name == deadLetterQueue }
        show(MetricCatalog.deadLetters, deadLetters.map { ([], Double($0.messages)) })
        show(MetricCatalog.storeIsWell, sample.storeFailure == nil ? 1 : 0)

        let lost = state.withLock { state in
            defer { state.droppedLines = droppedLines }
            return droppedLines - state.droppedLines
        }
        if lost > 0 { dropped.increment(by: lost) }
    }

    func show(_ certificates: [CertificateEnd], now: Timestamp = StoreClock.system.now()) {
        let left = certificates.map { ([$0.use, $0.org], Double(($0.at - now).wholeMilliseconds) / 1000) }
        show(MetricCatalog.certificateRemaining, left)
    }

    // MARK: -

    private func show(_ family: MetricFamily, _ value: Double) { show(family, [[]: value]) }

    /// Of values for the same labels, the least counts.
    private func show(_ family: MetricFamily, _ values: [([String], Double)]) {
        show(family, Dictionary(values, uniquingKeysWith: min))
    }

    private func show(_ family: MetricFamily, _ values: [[String]: Double]) {
        state.withLock { state in
            var meters = state.meters[family.name] ?? [:]
            for (labels, meter) in meters where values[labels] == nil {
                meter.destroy()
                meters[labels] = nil
            }
            for (labels, value) in values {
                let meter = meters[labels] ?? family.meter(labels, in: factory)
                meters[labels] = meter
                meter.set(value)
            }
            state.meters[family.name] = meters
        }
    }
}
