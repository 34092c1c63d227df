// What the pipeline knows of one org beside its configuration.

import FleetControls
import NIOCore

/// One org: its gate, and how politely it is called. Lives on the pipeline's loop alone; a class, since every command asks
/// for a little of it several times, and as a value all of it would be copied each time.
final class OrgState {
    var policy: OrgPolicy
    /// What operators say of it.
    var control = OrgControl.live
    var gate: OrgGate
    var breaker: CircuitBreaker
    var concurrency: AdaptiveConcurrency
    var bucket: TokenBucket?
    /// The org asked for no calls before this.
    var quietUntil: Duration = .zero
    /// Commands from commands queues that stand in lanes or are worked on.
    var fresh: PrefetchShare
    /// Calls under way.
    var calls = 0
    /// Deliveries kept away from the lanes while the gate is turning.
    var heldBack: [DeliveryPipeline.Work] = []
    /// The context of the command that met trouble, for orgs without a default.
    var troubledContext: String?
    /// With which context a probe showed the org well, and when.
    var proof: (context: String, at: Duration)?
    var refusals = LonelyRefusals()
    /// A parking queue of the org cannot be used.
    var cannotPark = false
    /// After a refusal to let a parking queue be used no surplus is parked before this.
    var refusedUntil: Duration = .zero
    var alarm: (at: Duration, scheduled: Scheduled<Void>)?

    /// How long a probe's success tells a command's trouble from the org's.
    private static let proofHolds: Duration = .seconds(300)

    init(
        policy: OrgPolicy, concurrency: Int, prefetches: [Int], workers: Int, marker: UInt64, now: Duration
    ) {
        self.policy = policy
        let parking = policy.parking ?? ParkingPolicy()
        gate = OrgGate(backoff: parking.probe, firstMarker: marker)
        breaker = CircuitBreaker(parking.breaker)
        let maximum = min(policy.maximumConcurrency ?? concurrency, concurrency)
        self.concurrency = AdaptiveConcurrency(maximum: maximum)
        fresh = PrefetchShare(prefetches: prefetches, concurrency: maximum)
        setRate(workers: workers, now: now)
    }

    /// The configuration changed.
    func use(_ policy: OrgPolicy, concurrency: Int, workers: Int, now: Duration) {
        self.policy = policy
        let parking = policy.parking ?? ParkingPolicy()
        gate.backoff = parking.probe
        breaker.settings = parking.breaker
        self.concurrency.bound(by: min(policy.maximumConcurrency ?? concurrency, concurrency))
        fresh.bound(by: self.concurrency.maximum)
        setRate(workers: workers, now: now)
    }

    func setRate(workers: Int, now: Duration) {
        guard let rate = policy.rateLimit else {
            bucket = nil
            return
        }
        if bucket == nil { bucket = TokenBucket(fleetRate: rate, now: now) }
        bucket!.share(rate, among: workers, now: now)
    }

    func provenContext(_ now: Duration) -> String? {
        proof.flatMap { now - $0.at < Self.proofHolds ? $0.context : nil }
    }

    /// Deliveries of the org that may run at a time; `nil` for all slots. Parking takes no calls, and so needs no limit.
    ///
    /// - Parameter share: see ``ReturnShares``.
    func limit(slots: Int, share: Int?) -> Int? {
        let own = control.mode == .live ? concurrency.limit : slots
        let limit = gate.admitsReturned || cannotPark ? min(own, share ?? slots) : slots
        return limit < slots ? limit : nil
    }

    /// Whether the org's own limits keep it from being called as fast as the worker could.
    func isLimited(slots: Int, now: Duration) -> Bool {
        bucket != nil || quietUntil > now || concurrency.limit < slots
    }

    /// How many more commands than those that run within `limit` may start, to be parked without a call.
    ///
    /// - Parameter running: deliveries of the org that hold a slot.
    func mayStartBeyondLimit(_ limit: Int?, running: Int) -> Bool {
        guard let limit, !cannotPark else { return false }
        return switch gate.state {
        case .live: false
        case .overflowing: fresh.excess > max(running - limit, 0)
        case .parked, .probing, .returning, .turning: true
        }
    }
}

extension ParkingPolicy {
    var breaker: CircuitBreaker.Settings {
        CircuitBreaker.Settings(failurePercent: failurePercent, minimumCalls: minimumCalls, window: window)
    }
}
