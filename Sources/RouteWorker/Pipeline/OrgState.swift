// What the pipeline knows of one org beside its configuration.

import NIOCore

/// One org: its gate, and how politely it is called.
struct OrgState {
    var policy: OrgPolicy
    var gate: OrgGate
    var breaker: CircuitBreaker
    var concurrency: AdaptiveConcurrency
    var bucket: TokenBucket?
    /// The org asked for no calls before this.
    var quietUntil: Duration = .zero
    /// Commands from commands queues that stand in lanes or are worked on.
    var fresh = 0
    /// Deliveries kept away from the lanes while the gate is turning.
    var heldBack: [DeliveryPipeline.Work] = []
    /// The context of the command that met trouble, for orgs without a default.
    var troubledContext: String?
    /// With which context a probe showed the org well, and when.
    var proof: (context: String, at: Duration)?
    /// A parking queue of the org cannot be used.
    var cannotPark = false
    var alarm: (at: Duration, scheduled: Scheduled<Void>)?

    /// How long a probe's success tells a command's trouble from the org's.
    private static let proofHolds: Duration = .seconds(300)

    init(policy: OrgPolicy, concurrency: Int, workers: Int, marker: UInt64, now: Duration) {
        self.policy = policy
        let parking = policy.parking ?? ParkingPolicy()
        gate = OrgGate(backoff: parking.probe, firstMarker: marker)
        breaker = CircuitBreaker(parking.breaker)
        self.concurrency = AdaptiveConcurrency(maximum: min(policy.maximumConcurrency ?? concurrency, concurrency))
        setRate(workers: workers, now: now)
    }

    /// The configuration changed.
    mutating func use(_ policy: OrgPolicy, concurrency: Int, workers: Int, now: Duration) {
        self.policy = policy
        breaker.settings = (policy.parking ?? ParkingPolicy()).breaker
        self.concurrency.bound(by: min(policy.maximumConcurrency ?? concurrency, concurrency))
        setRate(workers: workers, now: now)
    }

    mutating func setRate(workers: Int, now: Duration) {
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
    func limit(slots: Int) -> Int? {
        let limit = gate.admitsReturned || cannotPark ? concurrency.limit : slots
        return limit < slots ? limit : nil
    }
}

extension ParkingPolicy {
    var breaker: CircuitBreaker.Settings {
        CircuitBreaker.Settings(failurePercent: failurePercent, minimumCalls: minimumCalls, window: window)
    }
}
