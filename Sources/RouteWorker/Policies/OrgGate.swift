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
/// come back looks now and then whether the lots are empty instead: order across workers is not promised.
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
    private struct Lot: Hashable {
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

    private let backoff: Backoff
    private(set) var state = State.live
    private(set) var reason: ParkingReason?
    /// Probes in vain, and returns that met trouble again, since the org was last live.
    private(set) var failures = 0
    private var lots: [String: Lot] = [:]
    private var probeAt: Duration?
    /// What a probe that is under way finds may not be true any more.
    private var isOutdated = false
    private var countAt: Duration?
    private var turnEndsAt: Duration?
    private var nextMarker: UInt64
    /// While overflowing: whose later commands go to the lots, too.
    private var parkedConversations = ParkedConversations()
    private var isRoundUnderWay = false
    /// Commands on their way into lots.
    private var parksUnderWay = 0

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
        case .returning, .turning, .overflowing: return open(lot, .returning)
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

    /// A command is about to be published to a lot; to be followed by ``parkEnded(_:)``.
    ///
    /// - Parameter deadline: when it will be too late for a call, on the clock of `now`.
    mutating func parks(in lot: String, overdueAt deadline: Duration?, now: Duration) -> [Action] {
        let isNew = lots[lot] == nil
        parksUnderWay += 1
        noteDeadline(deadline, in: lot)
        switch state {
        case .returning, .turning, .overflowing: return isNew ? open(lot, .returning) : []
        case .live, .parked, .probing: return []
        }
    }

    /// It is known whether it stands there.
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

    // MARK: Lots

    mutating func subscribed(_ lot: String, now: Duration) -> [Action] {
        guard let use = lots[lot]?.use, use != .closed, state != .turning, state != .live else { return [] }
        return mark(lot)
    }

    /// The channel is gone, and everything unsettled with it; the consumer subscribes again by itself.
    mutating func subscriptionLost(_ lot: String, now: Duration) -> [Action] {
        guard lots[lot]?.use == .returning else { return [] }
        switch state {
        case .turning: return endTurn(now)
        case .overflowing:
            // What was thought to be back in the lanes is in the lot again.
            state = .returning
            countAt = now + Self.countInterval
            return [.recheck]
        case .live, .parked, .probing, .returning: return []
        }
    }

    /// A command from a lot enters the lanes.
    mutating func took(from lot: String) { lots[lot]?.underWay += 1 }

    /// It has left them, settled or not.
    mutating func finished(from lot: String, now: Duration) -> [Action] {
        guard let underWay = lots[lot]?.underWay, underWay > 0 else { return [] }
        lots[lot]!.underWay = underWay - 1
        return closeIfDone(lot, now)
    }

    mutating func markerCame(_ lot: String, _ marker: UInt64, now: Duration) -> [Action] {
        guard lots[lot]?.marker == marker else { return [] }
        lots[lot]!.marker = nil
        lots[lot]!.isSeen = true
        switch state {
        case .parked, .probing, .live:
            return closeIfDone(lot, now)
        case .returning:
            return allAreSeen ? turn(now) : []
        case .turning:
            return allAreSeen ? goLive() : []
        case .overflowing:
            return allAreSeen && isRoundUnderWay ? endRound(now) : []
        }
    }

    /// - Parameter isEmpty: no lot has anything left to deliver.
    mutating func counted(isEmpty: Bool, now: Duration) -> [Action] {
        switch state {
        case .live, .parked, .probing: return []
        case .returning: return isEmpty ? turn(now) : []
        case .overflowing: return isEmpty && isRoundUnderWay ? endRound(now) : []
        case .turning:
            // Somebody else consumes the lots, and with them this worker's markers.
            if isEmpty, lots.values.allSatisfy({ $0.marker != nil || $0.isSeen }) { return goLive() }
            return turnEndsAt == nil ? endTurn(now) : []
        }
    }

    /// While turning: nothing fresh is left in the lanes or on its way to the lots.
    mutating func freshIsParked() -> [Action] {
        guard state == .turning, lots.values.allSatisfy({ $0.marker == nil && !$0.isSeen }) else { return [] }
        return lots.keys.flatMap { mark($0) }
    }

    private var allAreSeen: Bool { lots.values.allSatisfy(\.isSeen) }

    private mutating func turn(_ now: Duration) -> [Action] {
        state = .turning
        turnEndsAt = now + Self.turnLimit
        for name in lots.keys {
            lots[name]!.isSeen = false
            lots[name]!.marker = nil
        }
        return [.holdFresh]
    }

    private mutating func endTurn(_ now: Duration) -> [Action] {
        state = .returning
        turnEndsAt = nil
        countAt = now + Self.countInterval
        return [.releaseFresh]
    }

    private mutating func beginRound() -> [Action] {
        isRoundUnderWay = true
        parkedConversations.beginRound()
        return lots.keys.flatMap { name in
            if lots[name]!.use == .returning { mark(name) } else { open(name, .returning) }
        }
    }

    private mutating func endRound(_ now: Duration) -> [Action] {
        isRoundUnderWay = false
        parkedConversations.endRound()
        countAt = now + Self.roundInterval
        return parkedConversations.isEmpty && parksUnderWay == 0 ? goLive() : []
    }

    private mutating func goLive() -> [Action] {
        state = .live
        reason = nil
        failures = 0
        turnEndsAt = nil
        var actions: [Action] = [.releaseFresh, .recheck]
        for (name, lot) in lots where lot.underWay == 0 {
            actions.append(.unsubscribe(name))
            lots[name] = nil
        }
        return actions
    }

    private mutating func open(_ lot: String, _ use: Lot.Use) -> [Action] {
        lots[lot]!.use = use
        lots[lot]!.marker = nil
        lots[lot]!.isSeen = false
        return [.subscribe(lot, toLook: use != .returning)]
    }

    private mutating func mark(_ lot: String) -> [Action] {
        nextMarker &+= 1
        lots[lot]!.marker = nextMarker
        lots[lot]!.isSeen = false
        return [.mark(lot, nextMarker)]
    }

    private mutating func closeIfDone(_ name: String, _ now: Duration) -> [Action] {
        guard let lot = lots[name], lot.underWay == 0 else { return [] }
        switch lot.use {
        case .closed: return []
        case .looking: return lot.isSeen ? endLook(name, now) : []
        case .returning:
            guard state == .live else { return [] }
            lots[name] = nil
            return [.unsubscribe(name)]
        }
    }

    private mutating func endLook(_ name: String, _ now: Duration) -> [Action] {
        guard case .looking(let since)? = lots[name]?.use else { return [] }
        let pause = max(Self.shortestBetweenLooks, (now - since) * Self.lookShare)
        lots[name]!.use = .closed
        lots[name]!.marker = nil
        lots[name]!.lookNotBefore = now + pause
        lots[name]!.lookAt = lots[name]!.lookAt.map { max($0, now + pause) }
        return [.unsubscribe(name)]
    }

    /// Growing and jittered, but never so short that it is no wait.
    private func delay(using random: inout some RandomNumberGenerator) -> Duration {
        let bound = backoff.delay(afterFailures: failures + 1, using: &random)
        return (bound + min(backoff.maximum, backoff.minimum * (1 << min(failures, 20)))) / 2
    }
}
