// What the pipeline counts as it works.

public import CoreMetrics
import InteractionAPI
import NIOCore
import RoutingContract

/// The pipeline's counters and timers, each resolved once: counting is a few atomic operations, with no lock and no text
/// made. A value of the pipeline's own, touched on its event loop alone.
public struct PipelineMetrics: Sendable {
    private struct Times {
        let queueWait: CoreMetrics.Timer
        let critical: CoreMetrics.Timer
    }

    private struct Org {
        let alias: String
        let callTime: CoreMetrics.Timer
        let duplicates: Counter
        let setAside: Counter
        /// By status class (index 1 to 5), `not_sent` (0) and `unknown` (6); made when first needed.
        var calls: [Counter?] = Array(repeating: nil, count: Self.results.count)
        /// By command and what became of it.
        var controlled: [[String]: Counter] = [:]
        /// By outcome, for a route, a delete and neither; made when first needed.
        var outcomes: [Counter?] = Array(repeating: nil, count: 3 * Outcome.allCases.count)

        static let results = ["not_sent", "1xx", "2xx", "3xx", "4xx", "5xx", "unknown"]

        init(_ alias: String, _ factory: any MetricsFactory) {
            self.alias = alias
            callTime = MetricCatalog.callTime.timer(alias, in: factory)
            duplicates = MetricCatalog.duplicates.counter(alias, in: factory)
            setAside = MetricCatalog.setAside.counter(alias, in: factory)
        }
    }

    private let factory: any MetricsFactory
    private let deliveries: [(all: Counter, again: Counter)]
    /// By the number of their type.
    private let times: [Times]
    private var directory = OrgDirectory()
    private var orgs: [OrgID: Org] = [:]
    private var unknownOrg: Org
    /// When transfers and conferences that have not ended were issued.
    private var transfers: [ObjectIdentifier: Timestamp] = [:]
    private var parkedTransfers = ParkedTransfers()

    /// Grows with every step that a command makes, so that a pipeline that hangs can be told from one that waits.
    private(set) var steps: UInt64 = 0

    /// - Parameters:
    ///   - factory: where the metrics are made, see ``MetricCatalog``; by default none are kept.
    ///   - queues: names of the commands queues, in the order of the settings.
    public init(factory: any MetricsFactory = NOOPMetricsHandler.instance, queues: [String] = []) {
        self.factory = factory
        deliveries = queues.map {
            (MetricCatalog.deliveries.counter($0, in: factory), MetricCatalog.redeliveries.counter($0, in: factory))
        }
        times = TimedType.allCases.map {
            Times(
                queueWait: MetricCatalog.queueWait.timer($0.rawValue, in: factory),
                critical: MetricCatalog.criticalTime.timer($0.rawValue, in: factory))
        }
        unknownOrg = Org(MetricCatalog.unknownOrg, factory)
    }

    /// Which orgs there are now: their aliases bound the label `org`.
    mutating func use(_ directory: OrgDirectory) {
        self.directory = directory
        // What is counted for the first time must have been zero before, or no rate shows it: these must not be missed.
        for org in directory.orgs {
            for kind in CommandKind.allCases {
                _ = MetricCatalog.commands.counter(
                    org.alias, kind.rawValue, Outcome.unknown.rawValue, in: factory)
            }
        }
        for (id, org) in orgs where directory.find(id.description)?.alias != org.alias { orgs[id] = nil }
    }

    // MARK: Events

    mutating func delivered(queue: Int, redelivered: Bool) {
        steps &+= 1
        guard deliveries.indices.contains(queue) else { return }
        deliveries[queue].all.increment()
        if redelivered { deliveries[queue].again.increment() }
    }

    /// A delivery is the worker's to end.
    mutating func entered(_ work: DeliveryPipeline.Work) {
        guard work.type.isUrgent else { return }
        transfers[ObjectIdentifier(work)] = work.issuedAt
        if case .success(let command) = work.decoded { parkedTransfers.cameBack(command.key) }
    }

    /// A delivery is not the worker's any more.
    mutating func left(_ work: DeliveryPipeline.Work) {
        if work.type.isUrgent { transfers[ObjectIdentifier(work)] = nil }
    }

    /// A command gave up its slot until it is woken.
    mutating func paused() { steps &+= 1 }

    /// A delivery stands in its org's parking queue.
    mutating func parked(_ command: RouteCommand, _ work: DeliveryPipeline.Work, now: Timestamp) {
        steps &+= 1
        withOrg(command.key.org) { org, _ in org.setAside.increment() }
        if work.type.isUrgent, let deadline = command.deadline {
            parkedTransfers.parked(
                command.key, of: work.queue, issuedAt: work.issuedAt, deadline: deadline, now: now)
        }
    }

    /// A queue's parking queues are another worker's from now on.
    mutating func gaveUp(_ queue: Int) { parkedTransfers.gaveUp(queue) }

    /// What becomes of a command by an operator's wish. The raw values stand in the label `outcome`.
    enum Controlled: String {
        case shadow
        case shadowedInvalid = "shadow-invalid"
        case passthrough
    }

    /// A message was discarded or handed on.
    mutating func controlled(_ id: OrgID?, _ kind: CommandKind?, as outcome: Controlled) {
        steps &+= 1
        withOrg(id) { org, factory in
            let labels = [org.alias, kind?.rawValue ?? "none", outcome.rawValue]
            let counter =
                org.controlled[labels] ?? MetricCatalog.commands.counter(labels[0], labels[1], labels[2], in: factory)
            org.controlled[labels] = counter
            counter.increment()
        }
    }

    mutating func called(for id: OrgID, took time: Duration, _ result: CallResult) {
        steps &+= 1
        let index =
            switch result {
            case .notSent: 0
            case .answered(let answer): min(max(answer.status / 100, 1), 5)
            case .effectUnknown: 6
            }
        withOrg(id) { org, factory in
            org.callTime.recordNanoseconds(time.wholeNanoseconds)
            if org.calls[index] == nil {
                org.calls[index] = MetricCatalog.calls.counter(org.alias, Org.results[index], in: factory)
            }
            org.calls[index]?.increment()
        }
    }

    /// How a delivery ended.
    ///
    /// - Parameter isAnnounced: whether it is about to be acknowledged. If not, it comes again, and an outcome that was
    ///   recorded then looks like a duplicate's: it is counted now. Every other is counted when it ends again.
    mutating func ended(
        _ announcement: Announcement, _ work: DeliveryPipeline.Work, startedAt: Timestamp, now: Timestamp,
        isAnnounced: Bool
    ) {
        steps &+= 1
        let outcome = announcement.result.outcome
        if isAnnounced {
            times[work.type.number].queueWait.record(since: work.issuedAt, startedAt)
            times[work.type.number].critical.record(since: work.issuedAt, now)
        } else if announcement.isDuplicate || !outcome.isRecorded {
            return
        }
        let kind = announcement.subject.kind
        withOrg(announcement.subject.org) { org, factory in
            if announcement.isDuplicate { return org.duplicates.increment() }
            let column =
                switch kind {
                case .route: 0
                case .delete: 1
                case nil: 2
                }
            let index = column * Outcome.allCases.count + outcome.number
            if org.outcomes[index] == nil {
                org.outcomes[index] = MetricCatalog.commands.counter(
                    org.alias, kind?.rawValue ?? "none", outcome.rawValue, in: factory)
            }
            org.outcomes[index]?.increment()
        }
    }

    // MARK: -

    /// How long the oldest transfer or conference has been waiting for its end, in parking too; zero without one.
    mutating func oldestTransfer(now: Timestamp) -> Duration {
        let oldest = [transfers.values.min(), parkedTransfers.oldest(now: now)].compactMap(\.self).min()
        return oldest.map { max(now - $0, .zero) } ?? .zero
    }

    private mutating func withOrg(_ id: OrgID?, _ body: (inout Org, any MetricsFactory) -> Void) {
        guard let id else { return body(&unknownOrg, factory) }
        if let index = orgs.index(forKey: id) { return body(&orgs.values[index], factory) }
        // Not kept under its id: ids that nobody configured come from outside, without end.
        guard let alias = directory.find(id.description)?.alias else { return body(&unknownOrg, factory) }
        var org = Org(alias, factory)
        body(&org, factory)
        orgs[id] = org
    }
}

extension CoreMetrics.Timer {
    /// Issue times are other people's: one that lies ahead counts as now.
    fileprivate func record(since start: Timestamp, _ now: Timestamp) {
        recordNanoseconds(max(now - start, .zero).wholeNanoseconds)
    }
}

extension Duration {
    /// Saturated at the end of `Int64`, 292 years.
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (nanoseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflowed) = nanoseconds.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overflow || overflowed ? .max : sum
    }
}

extension Outcome {
    /// Its place among all, without a search.
    fileprivate var number: Int {
        switch self {
        case .succeeded: 0
        case .rejected: 1
        case .invalid: 2
        case .conflict: 3
        case .expired: 4
        case .superseded: 5
        case .exhausted: 6
        case .unknown: 7
        }
    }

    /// Whether the store remembers it, so that another delivery of the command is a duplicate.
    fileprivate var isRecorded: Bool {
        switch self {
        case .succeeded, .rejected, .superseded, .exhausted, .unknown: true
        case .invalid, .conflict, .expired: false
        }
    }
}
