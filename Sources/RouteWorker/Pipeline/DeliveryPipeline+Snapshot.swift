// What the pipeline holds, for health and metrics: looked at once a second, not counted along the way.

import FleetControls
import RoutingContract

/// What a pipeline holds at one moment.
public struct PipelineSnapshot: Sendable, Hashable {
    /// One org that commands came for.
    public struct Org: Sendable, Hashable {
        public var alias: String
        /// In trouble.
        public var isParked: Bool
        /// By an operator.
        public var isPaused: Bool
        /// `live`, `shadow` or `passthrough`.
        public var mode: String
        public var breakerIsOpen: Bool
        /// Calls that may be made at a time.
        public var concurrency: Int
    }

    /// Grows with every step of any command.
    public var steps: UInt64 = 0
    /// Deliveries that hold a slot.
    public var running = 0
    /// Deliveries that were started and wait.
    public var paused = 0
    /// Deliveries that were not started.
    public var waiting = 0
    /// Deliveries kept away from the lanes while their org comes back.
    public var heldBack = 0
    /// Conversations with a delivery that waits or works.
    public var lanes = 0
    public var slots = 0
    /// Zero without one.
    public var oldestTransfer: Duration = .zero
    public var isDraining = false
    public var orgs: [Org] = []

    public init() {}
}

extension DeliveryPipeline {
    /// Values by org as values by its alias; what belongs to no org of the configuration is left out.
    func byAlias<Value>(_ values: [OrgID: Value]) -> [String: Value] {
        var named: [String: Value] = [:]
        for (org, value) in values {
            if let alias = decoder.orgs.find(org.description)?.alias { named[alias] = value }
        }
        return named
    }

    /// What there is now. Costs a pass over the orgs that commands came for.
    public var snapshot: PipelineSnapshot {
        var snapshot = PipelineSnapshot()
        snapshot.steps = metrics.steps
        snapshot.running = lanes.running
        snapshot.paused = lanes.paused
        snapshot.waiting = lanes.waiting
        snapshot.heldBack = orgs.values.reduce(0) { $0 + $1.heldBack.count }
        snapshot.lanes = lanes.laneCount
        snapshot.slots = settings.concurrency
        snapshot.oldestTransfer = metrics.oldestTransfer(now: moment().wall)
        snapshot.isDraining = isDraining
        for (id, org) in orgs {
            guard let alias = decoder.orgs.find(id.description)?.alias else { continue }
            snapshot.orgs.append(
                PipelineSnapshot.Org(
                    alias: alias,
                    isParked: !org.gate.isLive && org.gate.state != .overflowing && org.gate.reason != .paused,
                    isPaused: org.control.isPaused, mode: org.control.mode.name,
                    breakerIsOpen: org.breaker.isOpen,
                    concurrency: org.concurrency.limit))
        }
        return snapshot
    }
}
