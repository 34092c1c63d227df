// Whether an org's commands may be called for, and how they are set aside and come back while they may not. Pure.
//
//   live ──trouble──▶ parked ⇄ probing ──well──▶ returning ──▶ turning ──▶ live
//    ▲│                 ▲                            │             │
//    │surplus           └───────── trouble ──────────┴─────────────┘
//    │▼                                 │
//   overflowing ────────────────────────┘

import AMQP
import RoutingContract

/// The gate of one org.
///
/// While it is not live, fresh commands go to the tail of the org's parking queues (*lots*, one for each commands queue).
/// After a probe has shown the org well, the worker consumes the lots; fresh commands still go to their tails, or they
/// would overtake. A *marker* published at the tail tells when it comes back that all before it has been delivered. For
/// the last stretch, *turning*, fresh commands are held back for a moment, so that nothing follows the marker: when it
/// comes back, all that was parked stands in the lanes, and what was held back may follow it there.
///
/// An org that is well but gets more commands than it takes is *overflowing*: it is called, its surplus goes to the lots and
/// comes back at its own pace. Fresh commands follow into the lots only where they are surplus themselves, or where their
/// conversation has one there. Markers go through the lots in *rounds*: what was parked before a round is back at its end.
///
/// Other workers may use the same lots, of which the broker lets one consume at a time. A worker whose marker does not
/// come back looks now and then whether the lots are empty instead: order across the workers of one queue is not promised.
/// The lots of a partition are its owner's alone, and so is its order.
struct OrgGate {
    enum State: Hashable {
        case live
        case parked
        case probing
        case returning
        case turning
        case overflowing
    }

    /// What to do, in this order.
    enum Action: Hashable {
        /// Clear the routing of a conversation that nobody has; report to ``probed(_:now:using:)``.
        case probe
        /// Consume a lot; report to ``subscribed(_:now:)``. Only to look: with as large a prefetch as there is.
        case subscribe(String, toLook: Bool)
        /// Close a lot's channel without a cancel: what is unsettled goes back to its place.
        case unsubscribe(String)
        /// Publish a marker at the tail of a lot; report to ``markerCame(_:_:now:)``.
        case mark(String, UInt64)
        /// Ask how many messages the lots hold; report to ``counted(isEmpty:now:)``.
        case count
        /// Keep fresh commands away from lanes and lots; tell ``freshIsParked()`` when none of them is left there.
        case holdFresh
        /// Let what was held back go on.
        case releaseFresh
        /// Commands that wait for another attempt should look at the gate again.
        case recheck
        /// Begin with a few calls.
        case startSlowly
        /// It goes well: more calls at a time.
        case speedUp
    }

    /// One parking queue of the org.
    struct Lot: Hashable {
        enum Use: Hashable {
            case closed
            case looking(since: Duration)
            case returning
        }

        var use = Use.closed
        /// Commands from it that stand in lanes or are worked on.
        var underWay = 0
        /// The marker that is on its way through it.
        var marker: UInt64?
        /// Everything in front of the last marker has been delivered.
        var isSeen = false
        /// When to look for overdue commands.
        var lookAt: Duration?
        var lookNotBefore: Duration = .zero
    }

    static let turnLimit: Duration = .seconds(2)
    static let countInterval: Duration = .seconds(5)
    /// From the end of one round to the next.
    static let roundInterval: Duration = .milliseconds(250)
    static let lookLimit: Duration = .seconds(30)
    static let shortestBetweenLooks: Duration = .seconds(1)
    /// Looking costs the broker as much as the worker: at most this part of the time goes into it.
    static let lookShare = 10

    /// Between two probes.
    var backoff: Backoff
    // What is not private is set in OrgGate+Lots.swift, too.
    var state = State.live
    var reason: ParkingReason?
    /// Probes in vain, and returns that met trouble again, since the org was last live.
    var failures = 0
    var lots: [String: Lot] = [:]
    private var probeAt: Duration?
    /// What a probe that is under way finds may not be true any more.
    private var isOutdated = false
    var countAt: Duration?
    var turnEndsAt: Duration?
    var nextMarker: UInt64
    /// While overflowing: whose later commands go to the lots, too.
    var parkedConversations = ParkedConversations()
    var isRoundUnderWay = false
    /// Commands on their way into lots.
    var parksUnderWay = 0

    /// - Parameter firstMarker: random, so that markers of other workers and of earlier lives are not taken for its own.
    init(backoff: Backoff, firstMarker: UInt64) {
        self.backoff = backoff
        nextMarker = firstMarker
    }

    var isLive: Bool { state == .live }
    var isHolding: Bool { state == .turning }
    /// Whether commands that come back from a lot may be called for.
    var admitsReturned: Bool {
        switch state {
        case .live, .returning, .turning, .overflowing: true
        case .parked, .probing: false
        }
    }

    /// Whether a fresh command that stands at the head of its lane goes to a lot.
    ///
    /// - Parameters:
    ///   - conversation: a hash value of it; asked for only where it counts, since nearly every command passes here.
    ///   - isSurplus: the org holds more than its share.
    func setsAside(_ conversation: @autoclosure () -> Int, isSurplus: Bool) -> Bool {
        switch state {
        case .live: false
        case .overflowing: isSurplus || parkedConversations.contains(conversation())
        case .parked, .probing, .returning, .turning: true
        }
    }
    var lotNames: [String] { lots.keys.sorted() }

    /// What a lot's deliveries are wanted for.
    enum Use {
        case looking
        case returning
    }

    /// `nil` where its channel is being closed.
    func use(of lot: String) -> Use? {
        switch lots[lot]?.use {
        case .looking: .looking
        case .returning: .returning
        case .closed, nil: nil
        }
    }

    /// When ``timeCame(_:)`` is to be called; `nil` while nothing is waited for.
    var dueAt: Duration? {
        var times: [Duration?]
        switch state {
        case .live, .probing: times = []
        case .parked: times = [probeAt]
        case .returning, .overflowing: times = [countAt]
        case .turning: times = [turnEndsAt]
        }
        for lot in lots.values {
            switch lot.use {
            case .closed where state == .parked: times.append(lot.lookAt)
            case .looking(let since): times.append(since + Self.lookLimit)
            case .closed, .returning: break
            }
        }
        return times.compactMap { $0 }.min()
    }

    // MARK: Trouble

    /// A call met trouble of the whole org, or the breaker opened.
    ///
    /// - Parameter after: when a first probe makes sense at the earliest, where the org said so.
    mutating func trouble(
        _ reason: ParkingReason, after: Duration = .zero, now: Duration, using random: inout some RandomNumberGenerator
    ) -> [Action] {
        switch state {
        case .parked, .probing:
            // Of a call that was under way.
            return []
        case .live, .returning, .turning, .overflowing:
            if state == .returning || state == .turning { failures += 1 }
            return park(reason, probeAt: now + max(after, delay(using: &random)), now)
        }
    }

    /// An operator parks the org until ``resume(now:)``.
    mutating func pause(now: Duration) -> [Action] { park(.paused, probeAt: nil, now) }

    mutating func resume(now: Duration) {
        guard reason == .paused, state == .parked else { return }
        failures = 0
        probeAt = now
    }

    /// Somebody may have mended what was wrong: a probe is made at once.
    mutating func mayBeMended(now: Duration) {
        guard reason != .paused else { return }
        failures = 0
        if state == .parked { probeAt = now }
        isOutdated = state == .probing
    }

    /// A lot that this worker had not used holds messages.
    mutating func found(_ lot: String, now: Duration) -> [Action] {
        guard lots[lot] == nil else { return [] }
        lots[lot] = Lot()
        // Their deadlines are not known.
        lots[lot]!.lookAt = now + Self.shortestBetweenLooks
        switch state {
        case .live: return park(.leftOver, probeAt: now, now)
        case .parked, .probing: return []
        case .returning, .turning: return open(lot, .returning)
        case .overflowing: return open(lot, .returning) + returnAgain(now)
        }
    }

    /// The org holds more of the prefetch than its share, and does not work it off.
    mutating func overflowed(now: Duration) -> [Action] {
        guard state == .live else { return [] }
        state = .overflowing
        reason = .backlog
        parkedConversations.removeAll()
        isRoundUnderWay = false
        countAt = now + Self.roundInterval
        return [.recheck]
    }

    private mutating func park(_ reason: ParkingReason, probeAt: Duration?, _ now: Duration) -> [Action] {
        var actions: [Action] = state == .turning ? [.releaseFresh] : []
        for (name, lot) in lots where lot.use == .returning {
            actions.append(.unsubscribe(name))
            lots[name]!.use = .closed
            lots[name]!.marker = nil
            lots[name]!.lookAt = max(now, lot.lookNotBefore) + Self.shortestBetweenLooks
        }
        state = .parked
        self.reason = reason
        self.probeAt = probeAt
        return actions + [.recheck]
    }

    // MARK: Parking

    /// A command is to be brought to a lot, in one try or several; to be followed by ``parkEnded(_:)``. Until then the org does
    /// not become live by a round's end: the command would be called for, before what is back behind it in its lane.
    mutating func parkBegins() { parksUnderWay += 1 }

    /// A command is about to be published to a lot.
    ///
    /// - Parameter deadline: when it will be too late for a call, on the clock of `now`.
    mutating func parks(in lot: String, overdueAt deadline: Duration?, now: Duration) -> [Action] {
        let isNew = lots[lot] == nil
        noteDeadline(deadline, in: lot)
        switch state {
        case .returning, .turning, .overflowing: return isNew ? open(lot, .returning) : []
        case .live, .parked, .probing: return []
        }
    }

    /// It stands there, or will not be brought there any more.
    ///
    /// - Parameter conversation: a hash value of it.
    mutating func parkEnded(_ conversation: Int) {
        parksUnderWay -= 1
        // Only now: a marker of a round that began in between may stand in front of it.
        if state == .overflowing { parkedConversations.add(conversation) }
    }

    /// A command seen in a lot has this deadline.
    mutating func noteDeadline(_ deadline: Duration?, in lot: String) {
        let known = lots[lot] ?? Lot()
        lots[lot] = known
        guard let deadline else { return }
        let due = max(deadline, known.lookNotBefore)
        lots[lot]!.lookAt = known.lookAt.map { min($0, due) } ?? due
    }

    // MARK: Time

    mutating func timeCame(_ now: Duration) -> [Action] {
        var actions: [Action] = []
        for (name, lot) in lots {
            switch lot.use {
            case .closed:
                guard state == .parked, let due = lot.lookAt, due <= now else { continue }
                lots[name]!.lookAt = nil
                actions += open(name, .looking(since: now))
            case .looking(let since):
                // Another worker consumes it, or it holds more than one look can see.
                if since + Self.lookLimit <= now { actions += endLook(name, now) }
            case .returning: break
            }
        }
        switch state {
        case .live, .probing: break
        case .parked:
            guard let due = probeAt, due <= now else { break }
            probeAt = nil
            state = .probing
            actions.append(.probe)
        case .returning:
            guard let due = countAt, due <= now else { break }
            countAt = now + Self.countInterval
            actions += [.count, .speedUp]
        case .overflowing:
            guard let due = countAt, due <= now else { break }
            countAt = now + Self.countInterval
            if isRoundUnderWay { actions.append(.count) } else { actions += beginRound() }
        case .turning:
            guard let due = turnEndsAt, due <= now else { break }
            turnEndsAt = nil
            actions.append(.count)
        }
        return actions
    }

    /// - Parameter retryAfter: what the org asked for, where it is not well.
    mutating func probed(
        isWell: Bool, retryAfter: Duration? = nil, now: Duration, using random: inout some RandomNumberGenerator
    ) -> [Action] {
        guard state == .probing else { return [] }
        guard isWell else {
            failures += 1
            state = .parked
            probeAt = isOutdated ? now : now + max(delay(using: &random), retryAfter ?? .zero)
            isOutdated = false
            return []
        }
        state = .returning
        isOutdated = false
        countAt = now + Self.countInterval
        var actions: [Action] = [.startSlowly]
        for (name, lot) in lots {
            if case .looking = lot.use { actions.append(.unsubscribe(name)) }
            actions += open(name, .returning)
        }
        return lots.isEmpty ? actions + goLive() : actions
    }

    /// Growing and jittered, but never so short that it is no wait.
    private func delay(using random: inout some RandomNumberGenerator) -> Duration {
        let jittered = backoff.delay(afterFailures: failures + 1, using: &random)
        return (jittered + backoff.bound(afterFailures: failures + 1)) / 2
    }
}
