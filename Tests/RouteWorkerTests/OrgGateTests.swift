// Transcripts of an org's gate: what happened, what is to be done.

import AMQP
import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct OrgGateTests {
    private var gate = OrgGate(backoff: Backoff(minimum: .seconds(1), maximum: .seconds(8)), firstMarker: 100)
    private var random = SeededGenerator(seed: 7)
    private let lot = "routing.commands.parked.00D000000000001"

    private func at(_ seconds: Double) -> Duration { .milliseconds(Int((seconds * 1000).rounded())) }

    /// Parks the org, with something in its lot.
    private mutating func park(at now: Double = 0, deadline: Duration? = nil) {
        #expect(gate.trouble(.breakerOpen, now: at(now), using: &random) == [.recheck])
        #expect(gate.parks(in: lot, overdueAt: deadline, now: at(now)) == [])
    }

    /// A command that its org's surplus sends to the lot is on its way.
    private mutating func bring(at now: Double) -> [OrgGate.Action] {
        gate.parkBegins()
        return gate.parks(in: lot, overdueAt: nil, now: at(now))
    }

    private mutating func probeWell(at now: Double) -> [OrgGate.Action] {
        #expect(gate.timeCame(at(now)) == [.probe])
        return gate.probed(isWell: true, now: at(now), using: &random)
    }

    @Test mutating func anOrgInTroubleIsProbedWithGrowingIntervals() {
        park()
        #expect(!gate.isLive && gate.reason == .breakerOpen)
        var now = Duration.zero
        var waits: [Duration] = []
        for _ in 0..<8 {
            let due = gate.dueAt!
            waits.append(due - now)
            now = due
            #expect(gate.timeCame(now) == [.probe])
            #expect(gate.dueAt == nil)
            #expect(gate.probed(isWell: false, now: now, using: &random) == [])
        }
        let bounds: [Double] = [1, 2, 4, 8, 8, 8, 8, 8]
        for (wait, bound) in zip(waits, bounds) { #expect(wait >= at(bound / 2) && wait <= at(bound)) }
    }

    @Test mutating func aProbeWaitsAsLongAsTheOrgAsksFor() {
        #expect(gate.trouble(.busy, after: at(60), now: at(0), using: &random) == [.recheck])
        #expect(gate.dueAt == at(60))
        #expect(gate.timeCame(at(60)) == [.probe])
        _ = gate.probed(isWell: false, retryAfter: at(90), now: at(60), using: &random)
        #expect(gate.dueAt == at(150))
    }

    @Test mutating func anOrgWithNothingParkedIsLiveAtOnce() {
        _ = gate.trouble(.token, now: at(0), using: &random)
        #expect(probeWell(at: 2) == [.startSlowly, .releaseFresh, .recheck])
        #expect(gate.isLive && gate.dueAt == nil)
    }

    @Test mutating func returnsInOrderBehindItsMarkers() {
        park()
        #expect(probeWell(at: 2) == [.startSlowly, .subscribe(lot, toLook: false)])
        #expect(gate.admitsReturned && !gate.isLive)
        #expect(gate.subscribed(lot, now: at(2)) == [.mark(lot, 101)])
        gate.took(from: lot)
        // What was parked before the first marker has been delivered; now fresh ones are held back.
        #expect(gate.markerCame(lot, 101, now: at(3)) == [.holdFresh])
        #expect(gate.isHolding)
        #expect(gate.freshIsParked() == [.mark(lot, 102)])
        #expect(gate.markerCame(lot, 101, now: at(3)) == [])
        #expect(gate.markerCame(lot, 102, now: at(3)) == [.releaseFresh, .recheck])
        #expect(gate.isLive)
        // The channel stays until the last command from the lot is settled.
        #expect(gate.finished(from: lot, now: at(4)) == [.unsubscribe(lot)])
        #expect(gate.lotNames == [] && gate.dueAt == nil)
    }

    @Test mutating func aLotThatIsGivenUpIsClosedAndNotWaitedFor() {
        let other = "routing.commands.1.parked.00D000000000001"
        park()
        #expect(gate.parks(in: other, overdueAt: nil, now: at(0)) == [])
        // While the org is in trouble nothing of it is consumed.
        #expect(gate.gaveUp("routing.commands.2.parked.00D000000000001") == [])
        _ = probeWell(at: 2)
        #expect(gate.subscribed(lot, now: at(2)) == [.mark(lot, 101)])
        #expect(gate.subscribed(other, now: at(2)) == [.mark(other, 102)])
        #expect(gate.gaveUp(other) == [.unsubscribe(other)])
        #expect(gate.use(of: other) == nil && gate.lotNames == [lot])
        #expect(gate.markerCame(lot, 101, now: at(3)) == [.holdFresh])
        // With the last one goes all that could be overtaken.
        #expect(gate.gaveUp(lot) == [.unsubscribe(lot), .releaseFresh, .recheck])
        #expect(gate.isLive)
    }

    @Test mutating func aLotThatIsGivenUpWhileTheOrgIsInTroubleLeavesItThere() {
        park()
        #expect(gate.gaveUp(lot) == [])
        #expect(gate.lotNames == [] && !gate.isLive)
        #expect(probeWell(at: 2) == [.startSlowly, .releaseFresh, .recheck])
    }

    @Test mutating func troubleDuringTheReturnGivesTheLotBack() {
        park()
        _ = probeWell(at: 2)
        _ = gate.subscribed(lot, now: at(2))
        gate.took(from: lot)
        #expect(gate.trouble(.breakerOpen, now: at(3), using: &random) == [.unsubscribe(lot), .recheck])
        #expect(!gate.admitsReturned && gate.use(of: lot) == nil)
        #expect(gate.finished(from: lot, now: at(3)) == [])
        #expect(gate.markerCame(lot, 101, now: at(3)) == [])
        // A relapse counts like a probe in vain: the next one takes longer.
        #expect(gate.failures == 1)
    }

    @Test mutating func troubleWhileTurningLetsGoOfWhatIsHeld() {
        park()
        _ = probeWell(at: 2)
        _ = gate.subscribed(lot, now: at(2))
        _ = gate.markerCame(lot, 101, now: at(3))
        #expect(
            gate.trouble(.token, now: at(3), using: &random) == [.releaseFresh, .unsubscribe(lot), .recheck])
    }

    @Test mutating func aWorkerThatOnlyStandsByLooksWhetherTheLotIsEmpty() {
        park()
        _ = probeWell(at: 2)
        _ = gate.subscribed(lot, now: at(2))
        // Another worker consumes the lot, and our marker with it.
        #expect(gate.timeCame(gate.dueAt!) == [.count, .speedUp])
        #expect(gate.counted(isEmpty: false, now: at(7)) == [])
        #expect(gate.timeCame(gate.dueAt!) == [.count, .speedUp])
        #expect(gate.counted(isEmpty: true, now: at(12)) == [.holdFresh])
        #expect(gate.freshIsParked() == [.mark(lot, 102)])
        #expect(gate.timeCame(gate.dueAt!) == [.count])
        #expect(gate.counted(isEmpty: true, now: at(14)) == [.releaseFresh, .recheck, .unsubscribe(lot)])
        #expect(gate.isLive)
    }

    @Test mutating func aTurnThatTakesTooLongIsGivenUp() {
        park()
        _ = probeWell(at: 2)
        _ = gate.subscribed(lot, now: at(2))
        #expect(gate.markerCame(lot, 101, now: at(3)) == [.holdFresh])
        #expect(gate.dueAt == at(5))
        #expect(gate.timeCame(at(5)) == [.count])
        // An empty lot means nothing while something fresh may still be on its way there.
        #expect(gate.counted(isEmpty: true, now: at(5)) == [.releaseFresh])
        #expect(gate.state == .returning)
    }

    @Test mutating func overdueCommandsAreLookedFor() {
        park(deadline: at(1.5))
        // Probes go on beside it.
        let actions = gate.timeCame(at(1.5))
        #expect(actions.contains(.subscribe(lot, toLook: true)))
        if gate.state == .probing { _ = gate.probed(isWell: false, now: at(1.5), using: &random) }
        #expect(gate.subscribed(lot, now: at(1.6)) == [.mark(lot, 101)])
        gate.took(from: lot)
        gate.noteDeadline(at(1.7), in: lot)
        #expect(gate.markerCame(lot, 101, now: at(1.7)) == [])
        #expect(gate.finished(from: lot, now: at(1.8)) == [.unsubscribe(lot)])
        // Not sooner than ten times what the last look took.
        var looks: [Duration] = []
        while looks.isEmpty {
            let due = gate.dueAt!
            for action in gate.timeCame(due) {
                if action == .subscribe(lot, toLook: true) { looks.append(due) }
                if action == .probe { _ = gate.probed(isWell: false, now: due, using: &random) }
            }
        }
        #expect(looks == [at(4.8)])
    }

    @Test mutating func aLookEndsWhenAProbeSucceeds() {
        park(deadline: at(0.1))
        #expect(gate.timeCame(at(0.1)) == [.subscribe(lot, toLook: true)])
        #expect(
            probeWell(at: 2) == [.startSlowly, .unsubscribe(lot), .subscribe(lot, toLook: false)])
    }

    @Test mutating func whatMayBeMendedIsProbedAtOnce() {
        park()
        #expect(gate.dueAt! > at(0))
        gate.mayBeMended(now: at(0.1))
        #expect(gate.timeCame(at(0.1)) == [.probe])
        // While the probe is out.
        gate.mayBeMended(now: at(0.2))
        #expect(gate.probed(isWell: false, retryAfter: at(60), now: at(0.3), using: &random) == [])
        #expect(gate.timeCame(at(0.3)) == [.probe])
        #expect(gate.probed(isWell: false, now: at(0.4), using: &random) == [])
        #expect(gate.dueAt! > at(0.4))
        // An operator's word counts more.
        #expect(gate.pause(now: at(1)) == [.recheck])
        gate.mayBeMended(now: at(1))
        #expect(gate.dueAt == nil)
    }

    @Test mutating func onlyTheSurplusOfAnOverflowingOrgIsSetAside() {
        #expect(gate.overflowed(now: at(0)) == [.recheck])
        #expect(gate.reason == .backlog && gate.admitsReturned && !gate.isLive)
        #expect(gate.setsAside(1, isSurplus: true) && !gate.setsAside(1, isSurplus: false))
        #expect(bring(at: 0) == [.subscribe(lot, toLook: false)])
        gate.parkEnded(1)
        // Its conversation's next commands would overtake it.
        #expect(gate.setsAside(1, isSurplus: false) && !gate.setsAside(2, isSurplus: false))
        #expect(gate.subscribed(lot, now: at(0)) == [.mark(lot, 101)])
        gate.took(from: lot)
        // That marker is of no round.
        #expect(gate.markerCame(lot, 101, now: at(0.1)) == [])
        #expect(gate.timeCame(gate.dueAt!) == [.mark(lot, 102)])
        // Parked behind the round's marker.
        #expect(bring(at: 0.3) == [])
        gate.parkEnded(2)
        #expect(gate.markerCame(lot, 102, now: at(1)) == [])
        #expect(!gate.setsAside(1, isSurplus: false) && gate.setsAside(2, isSurplus: false))
        #expect(gate.finished(from: lot, now: at(1)) == [])
        #expect(gate.dueAt == at(1.25))
        #expect(gate.timeCame(at(1.25)) == [.mark(lot, 103)])
        #expect(gate.markerCame(lot, 103, now: at(2)) == [.releaseFresh, .recheck, .unsubscribe(lot)])
        #expect(gate.isLive && gate.dueAt == nil && !gate.setsAside(2, isSurplus: true))
    }

    @Test mutating func whatIsOnItsWayToALotKeepsAnOrgFromBeingLive() {
        _ = gate.overflowed(now: at(0))
        _ = bring(at: 0)
        _ = gate.subscribed(lot, now: at(0))
        #expect(gate.timeCame(at(0.25)) == [.mark(lot, 102)])
        #expect(gate.markerCame(lot, 102, now: at(1)) == [])
        #expect(!gate.isLive)
        gate.parkEnded(1)
        #expect(gate.timeCame(at(1.25)) == [.mark(lot, 103)])
        #expect(gate.setsAside(1, isSurplus: false))
        #expect(gate.markerCame(lot, 103, now: at(2)).contains(.recheck))
        #expect(gate.isLive)
    }

    @Test mutating func anOverflowingOrgWhoseLotAnotherWorkerConsumesLooksWhetherItIsEmpty() {
        _ = gate.overflowed(now: at(0))
        _ = bring(at: 0)
        gate.parkEnded(1)
        #expect(gate.timeCame(at(0.25)) == [.mark(lot, 101)])
        #expect(gate.timeCame(gate.dueAt!) == [.count])
        #expect(gate.counted(isEmpty: false, now: at(6)) == [])
        #expect(gate.timeCame(gate.dueAt!) == [.count])
        #expect(gate.counted(isEmpty: true, now: at(11)) == [.releaseFresh, .recheck, .unsubscribe(lot)])
    }

    @Test mutating func anOverflowingOrgThatLosesItsLotOrMeetsTroubleParksAll() {
        _ = gate.overflowed(now: at(0))
        _ = bring(at: 0)
        gate.parkEnded(1)
        #expect(gate.subscriptionLost(lot, now: at(1)) == [.recheck])
        #expect(gate.state == .returning && gate.setsAside(2, isSurplus: false))
        var other = OrgGate(backoff: Backoff(minimum: .seconds(1), maximum: .seconds(8)), firstMarker: 0)
        _ = other.overflowed(now: at(0))
        _ = other.parks(in: lot, overdueAt: nil, now: at(0))
        #expect(other.trouble(.token, now: at(1), using: &random) == [.unsubscribe(lot), .recheck])
        #expect(other.failures == 0 && other.setsAside(2, isSurplus: false))
    }

    @Test mutating func anOverflowingOrgThatTakesALotOverParksAllBehindIt() {
        let other = "routing.commands.1.parked.00D000000000001"
        _ = gate.overflowed(now: at(0))
        _ = bring(at: 0)
        gate.parkEnded(1)
        // Nobody knows whose commands it holds.
        #expect(gate.found(other, now: at(0.1)) == [.subscribe(other, toLook: false), .recheck])
        #expect(gate.state == .returning && gate.setsAside(2, isSurplus: false))
        #expect(gate.subscribed(lot, now: at(0.1)) == [.mark(lot, 101)])
        #expect(gate.subscribed(other, now: at(0.1)) == [.mark(other, 102)])
        #expect(gate.markerCame(lot, 101, now: at(0.2)) == [])
        #expect(gate.markerCame(other, 102, now: at(0.2)) == [.holdFresh])
    }

    @Test mutating func aLotThatIsLostBeforeItsLastCommandIsDoneIsReturnedFromAgain() {
        park()
        _ = probeWell(at: 2)
        _ = gate.subscribed(lot, now: at(2))
        for _ in 0..<2 { gate.took(from: lot) }
        _ = gate.markerCame(lot, 101, now: at(3))
        _ = gate.freshIsParked()
        #expect(gate.markerCame(lot, 102, now: at(3)) == [.releaseFresh, .recheck])
        // What stood in the lanes is in the lot again, and nothing fresh may overtake it.
        #expect(gate.subscriptionLost(lot, now: at(4)) == [.recheck])
        #expect(gate.state == .returning && gate.setsAside(1, isSurplus: false))
        for _ in 0..<2 { #expect(gate.finished(from: lot, now: at(4)) == []) }
        #expect(gate.subscribed(lot, now: at(5)) == [.mark(lot, 103)])
        #expect(gate.markerCame(lot, 103, now: at(5)) == [.holdFresh])
    }

    @Test mutating func leftOversStartAnOrgParked() {
        #expect(gate.found(lot, now: at(0)) == [.recheck])
        #expect(gate.reason == .leftOver && gate.dueAt == at(0))
        #expect(gate.timeCame(at(0)) == [.probe])
        #expect(gate.found(lot, now: at(0)) == [])
    }

    @Test mutating func aPausedOrgWaitsForItsOperator() {
        #expect(gate.pause(now: at(0)) == [.recheck])
        #expect(gate.dueAt == nil)
        #expect(gate.trouble(.token, now: at(0), using: &random) == [])
        gate.resume(now: at(9))
        #expect(gate.dueAt == at(9))
        #expect(gate.timeCame(at(9)) == [.probe])
        // Paused again while the probe is out.
        #expect(gate.pause(now: at(9)) == [.recheck])
        #expect(gate.probed(isWell: true, now: at(10), using: &random) == [])
        #expect(gate.reason == .paused && gate.dueAt == nil)
    }

    @Test mutating func anOrgThatIsPausedWhileItOverflowsOrTurnsParksAll() {
        _ = gate.overflowed(now: at(0))
        _ = bring(at: 0)
        #expect(gate.pause(now: at(1)) == [.unsubscribe(lot), .recheck])
        gate.parkEnded(1)
        #expect(!gate.admitsReturned && gate.setsAside(2, isSurplus: false) && gate.reason == .paused)
        gate.resume(now: at(1.5))
        #expect(probeWell(at: 1.5).contains(.subscribe(lot, toLook: false)))
        #expect(gate.counted(isEmpty: true, now: at(4)) == [.holdFresh])
        #expect(gate.pause(now: at(5)) == [.releaseFresh, .unsubscribe(lot), .recheck])
        #expect(!gate.isHolding && gate.dueAt == at(6))
    }

    /// Whatever happens in whatever order: fresh commands are held only while turning, a lot's channel is open only
    /// where it is wanted, and an org that stays well becomes live.
    @Test mutating func holdsItsPromisesInAnyOrderOfEvents() {
        for _ in 0..<300 {
            var random = SeededGenerator(seed: .random(in: 0 ... .max))
            var gate = OrgGate(backoff: Backoff(minimum: .seconds(1), maximum: .seconds(8)), firstMarker: 0)
            var world = World()
            for _ in 0..<200 {
                world.now += .milliseconds(Int.random(in: 0...700, using: &random))
                world.step(&gate, &random)
                #expect(gate.isHolding == world.isHolding, "seed \(random.seed)")
                #expect(world.isConsistent(gate), "seed \(random.seed)")
            }
            gate.resume(now: world.now)
            for _ in 0..<200 where !gate.isLive || !world.open.isEmpty { world.heal(&gate, &random) }
            #expect(gate.isLive && !world.isHolding && world.open.isEmpty, "seed \(random.seed)")
        }
    }

    /// A broker and a pipeline as far as the gate can tell.
    private struct World {
        var now = Duration.zero
        var isHolding = false
        var isProbing = false
        var open: [String: Bool] = [:]
        var subscribed: Set<String> = []
        var markers: [(String, UInt64)] = []
        var underWay: [String: Int] = [:]
        var counts = 0
        var parks = 0

        mutating func apply(_ actions: [OrgGate.Action]) {
            for action in actions {
                switch action {
                case .probe: isProbing = true
                case .subscribe(let lot, let toLook): open[lot] = toLook
                case .unsubscribe(let lot):
                    open[lot] = nil
                    subscribed.remove(lot)
                    markers.removeAll { $0.0 == lot }
                case .mark(let lot, let number): markers.append((lot, number))
                case .count: counts += 1
                case .holdFresh: isHolding = true
                case .releaseFresh: isHolding = false
                case .recheck, .startSlowly, .speedUp: break
                }
            }
        }

        func isConsistent(_ gate: OrgGate) -> Bool {
            open.allSatisfy { lot, toLook in
                switch gate.use(of: lot) {
                case .looking: toLook
                case .returning: !toLook
                case nil: false
                }
            } && gate.lotNames.allSatisfy { gate.use(of: $0) == nil || open[$0] != nil }
        }

        mutating func step(_ gate: inout OrgGate, _ random: inout SeededGenerator) {
            let lot = ["a", "b"].randomElement(using: &random)!
            switch Int.random(in: 0..<17, using: &random) {
            case 0: apply(gate.trouble(.breakerOpen, now: now, using: &random))
            case 1 where !gate.isLive:
                let deadline = Bool.random(using: &random) ? now + .seconds(1) : nil
                gate.parkBegins()
                apply(gate.parks(in: lot, overdueAt: deadline, now: now))
                parks += 1
            case 7: apply(gate.overflowed(now: now))
            case 8 where parks > 0:
                parks -= 1
                gate.parkEnded(.random(in: 0..<3, using: &random))
            case 2: apply(gate.found(lot, now: now))
            case 3: apply(gate.subscriptionLost(lot, now: now))
            case 4: apply(gate.pause(now: now))
            case 5: gate.resume(now: now)
            case 6 where open[lot] != nil:
                gate.took(from: lot)
                underWay[lot, default: 0] += 1
            default: progress(&gate, &random, isWell: Bool.random(using: &random))
            }
        }

        /// Only good things happen.
        mutating func heal(_ gate: inout OrgGate, _ random: inout SeededGenerator) {
            now += .milliseconds(200)
            for _ in 0..<parks { gate.parkEnded(0) }
            parks = 0
            progress(&gate, &random, isWell: true)
        }

        private mutating func progress(_ gate: inout OrgGate, _ random: inout SeededGenerator, isWell: Bool) {
            if let due = gate.dueAt, due <= now { apply(gate.timeCame(now)) }
            if isProbing {
                isProbing = false
                apply(gate.probed(isWell: isWell, now: now, using: &random))
            }
            for lot in open.keys where subscribed.insert(lot).inserted { apply(gate.subscribed(lot, now: now)) }
            if gate.isHolding { apply(gate.freshIsParked()) }
            if !markers.isEmpty {
                let (lot, number) = markers.removeFirst()
                if open[lot] != nil { apply(gate.markerCame(lot, number, now: now)) }
            }
            if counts > 0 {
                counts -= 1
                apply(gate.counted(isEmpty: isWell, now: now))
            }
            if let (lot, count) = underWay.first(where: { $0.value > 0 }) {
                underWay[lot] = count - 1
                apply(gate.finished(from: lot, now: now))
            }
        }
    }
}
