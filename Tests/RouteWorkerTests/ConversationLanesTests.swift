// Transcripts of the lanes: what is delivered, what may start.

import RoutingContract
import Testing

@testable import RouteWorker

extension String: LaneKey {
    var group: Character { first ?? "-" }
}

extension Int: LaneKey {
    var group: Int { self % 2 }
}

@Suite(.timeLimit(.minutes(1))) struct ConversationLanesTests {
    typealias Lanes = ConversationLanes<String, String>

    /// Starts everything that may start; returns what started (items, and `^item` for a resumed one).
    fileprivate func startAll(_ lanes: inout Lanes, _ tickets: inout [String: Lanes.Ticket]) -> [String] {
        var log: [String] = []
        while let start = lanes.next() {
            switch start {
            case .start(let ticket, let item):
                tickets[item] = ticket
                log.append(item)
            case .resume(let ticket):
                log.append("^" + tickets.first { $0.value == ticket }!.key)
            }
        }
        return log
    }

    @Test func commandsOfOneConversationRunOneAfterAnotherInOrder() {
        var lanes = Lanes(slots: 4, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a1", "a2", "b1", "a3"] { lanes.deliver(item, key: String(item.prefix(1)), source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a1", "b1"])
        lanes.finish(tickets["b1"]!)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == ["a2"])
        lanes.finish(tickets["a2"]!)
        #expect(startAll(&lanes, &tickets) == ["a3"])
        lanes.finish(tickets["a3"]!)
        #expect(lanes.isIdle && lanes.waiting == 0)
    }

    @Test func noMoreRunThanThereAreSlots() {
        var lanes = Lanes(slots: 2, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a", "b", "c"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a", "b"])
        lanes.finish(tickets["a"]!)
        #expect(startAll(&lanes, &tickets) == ["c"])
    }

    @Test func reservedSlotsStayFreeForTheirSource() {
        var lanes = Lanes(slots: 3, reserved: [0, 1])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a", "b", "c"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a", "b"])
        lanes.deliver("transfer", key: "t", source: 1)
        #expect(startAll(&lanes, &tickets) == ["transfer"])
        lanes.deliver("transfer2", key: "u", source: 1)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.finish(tickets["a"]!)
        // The slot given back is unreserved: sources take turns, and source 0 has waited as long.
        #expect(startAll(&lanes, &tickets).count == 1)
    }

    @Test func aPausedCommandFreesItsSlotAndKeepsItsLaneClosed() {
        var lanes = Lanes(slots: 1, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a1", "a2", "b1"] { lanes.deliver(item, key: String(item.prefix(1)), source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a1"])
        lanes.pause(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == ["b1"])
        lanes.deliver("c1", key: "c", source: 0)
        lanes.wake(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.finish(tickets["b1"]!)
        // The woken one stands ahead of new starts.
        #expect(startAll(&lanes, &tickets) == ["^a1"])
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == ["c1"])
        lanes.finish(tickets["c1"]!)
        #expect(startAll(&lanes, &tickets) == ["a2"])
    }

    @Test func whatALimitHoldsBackCanBeStartedToBeSetAside() {
        var lanes = Lanes(slots: 3, reserved: [0], limits: ["a": 1])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a1", "a2", "a3", "b1"] {
            lanes.deliver(item, key: item, source: 0, maySetAside: item != "a2")
        }
        #expect(startAll(&lanes, &tickets) == ["a1", "b1"])
        guard case .start(let ticket, "a3")? = lanes.startHeld("a") else {
            Issue.record("not started")
            return
        }
        #expect(ticket.isBeyondLimit && !tickets["a1"]!.isBeyondLimit)
        lanes.deliver("a4", key: "a4", source: 0, maySetAside: true)
        lanes.finish(tickets["b1"]!)
        #expect(startAll(&lanes, &tickets) == [])
        // One that is not set aside after all waits for its turn like all others.
        lanes.pause(ticket)
        lanes.wake(ticket)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == ["a2"])
        let other = lanes.startHeld("b")
        #expect(other == nil)
        lanes.close()
        let late = lanes.startHeld("a")
        #expect(late == nil)
    }

    @Test func closedLanesStartNothingNewButResume() {
        var lanes = Lanes(slots: 2, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a", "b"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a", "b"])
        lanes.pause(tickets["a"]!)
        lanes.deliver("c", key: "c", source: 0)
        lanes.close()
        #expect(startAll(&lanes, &tickets) == [])
        lanes.wake(tickets["a"]!)
        #expect(startAll(&lanes, &tickets) == ["^a"])
        lanes.finish(tickets["a"]!)
        lanes.finish(tickets["b"]!)
        #expect(lanes.isIdle)
    }

    @Test func closedLanesResumeWhatStoodBehindANewStartForItsGroupsSlot() {
        var lanes = Lanes(slots: 3, reserved: [0, 0], limits: ["a": 1])
        var tickets: [String: Lanes.Ticket] = [:]
        lanes.deliver("a1", key: "a1", source: 0)
        #expect(startAll(&lanes, &tickets) == ["a1"])
        lanes.pause(tickets["a1"]!)
        lanes.deliver("b1", key: "b1", source: 1)
        for item in ["a2", "a3"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets).sorted() == ["a2", "b1"])
        lanes.wake(tickets["a1"]!)
        lanes.deliver("c1", key: "c1", source: 0)
        #expect(startAll(&lanes, &tickets) == ["c1"])
        lanes.deliver("b2", key: "b2", source: 1)
        #expect(startAll(&lanes, &tickets) == [])
        // The group's slot is a3's now, which stands in line for one of the worker's.
        lanes.finish(tickets["a2"]!)
        #expect(startAll(&lanes, &tickets) == ["b2"])
        lanes.close()
        lanes.finish(tickets["b1"]!)
        #expect(startAll(&lanes, &tickets) == ["^a1"])
        for item in ["a1", "b2", "c1"] { lanes.finish(tickets[item]!) }
        #expect(startAll(&lanes, &tickets) == [] && lanes.isIdle)
    }

    @Test func whatWasSetAsideComesBackAheadOfWhatWasDeliveredLater() {
        var lanes = Lanes(slots: 1, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        lanes.deliver("a1", key: "a", source: 0, maySetAside: true)
        #expect(startAll(&lanes, &tickets) == ["a1"])
        for item in ["a4", "a5"] { lanes.deliver(item, key: "a", source: 0, maySetAside: true) }
        for item in ["a2", "a3"] { lanes.deliver(item, key: "a", source: 0) }
        var order = ["a1"]
        while let ticket = tickets[order.last!] {
            lanes.finish(ticket)
            guard let next = startAll(&lanes, &tickets).first else { break }
            order.append(next)
        }
        #expect(order == ["a1", "a2", "a3", "a4", "a5"])
        #expect(lanes.isIdle && lanes.waiting == 0 && lanes.laneCount == 0)
    }

    @Test func waitingDeliveriesOfALostChannelLeave() {
        var lanes = Lanes(slots: 1, reserved: [0, 0])
        var tickets: [String: Lanes.Ticket] = [:]
        lanes.deliver("a1", key: "a", source: 0)
        #expect(startAll(&lanes, &tickets) == ["a1"])
        lanes.deliver("a2-lost", key: "a", source: 0)
        lanes.deliver("a3", key: "a", source: 1)
        lanes.deliver("b1-lost", key: "b", source: 0)
        lanes.deliver("c1-lost", key: "c", source: 0)
        lanes.deliver("c2", key: "c", source: 1)
        lanes.deliver("free-lost", key: nil, source: 0)
        lanes.removeWaiting { $0.hasSuffix("lost") }
        #expect(lanes.waiting == 2)
        lanes.deliver("b2", key: "b", source: 0)
        var order: [String] = []
        var last = "a1"
        while true {
            lanes.finish(tickets[last]!)
            guard let item = startAll(&lanes, &tickets).first else { break }
            order.append(item)
            last = item
        }
        #expect(Set(order) == ["a3", "b2", "c2"] && order.count == 3)
        #expect(lanes.isIdle && lanes.waiting == 0)
    }

    @Test func aGroupAtItsLimitStandsAsideAndKeepsNobodyWaiting() {
        var lanes = Lanes(slots: 4, reserved: [0], limits: ["a": 1])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a1", "a2", "a3", "b1", "b2"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a1", "b1", "b2"])
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == ["a2"])
        // One that pauses makes room for the next of its group, and waits for room when it is woken.
        lanes.pause(tickets["a2"]!)
        #expect(startAll(&lanes, &tickets) == ["a3"])
        lanes.wake(tickets["a2"]!)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.finish(tickets["a3"]!)
        #expect(startAll(&lanes, &tickets) == ["^a2"])
        lanes.finish(tickets["a2"]!)
        lanes.finish(tickets["b1"]!)
        lanes.finish(tickets["b2"]!)
        #expect(lanes.isIdle && lanes.waiting == 0)
    }

    @Test func closedLanesResumeWhatALimitHoldsBack() {
        var lanes = Lanes(slots: 4, reserved: [0], limits: ["a": 1])
        var tickets: [String: Lanes.Ticket] = [:]
        lanes.deliver("a1", key: "a1", source: 0)
        #expect(startAll(&lanes, &tickets) == ["a1"])
        lanes.pause(tickets["a1"]!)
        for item in ["a2", "a3"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a2"])
        lanes.wake(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.close()
        lanes.finish(tickets["a2"]!)
        #expect(startAll(&lanes, &tickets) == ["^a1"])
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == [] && lanes.isIdle)
    }

    @Test func whatALimitHeldBackLeavesWithItsLostChannel() {
        var lanes = Lanes(slots: 4, reserved: [0, 0], limits: ["a": 1])
        var tickets: [String: Lanes.Ticket] = [:]
        for item in ["a1", "a2-lost", "a3"] { lanes.deliver(item, key: item, source: item == "a3" ? 1 : 0) }
        #expect(startAll(&lanes, &tickets) == ["a1"])
        lanes.removeWaiting { $0.hasSuffix("lost") }
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == ["a3"])
        lanes.finish(tickets["a3"]!)
        #expect(lanes.isIdle && lanes.waiting == 0)
    }

    @Test func whatStandsInNoLaneRunsBesideEverything() {
        var lanes = Lanes(slots: 3, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        lanes.deliver("x", key: nil, source: 0)
        lanes.deliver("y", key: nil, source: 0)
        #expect(startAll(&lanes, &tickets) == ["x", "y"])
    }

    /// Random histories: order within a lane, slots, and nothing lost or started twice.
    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64]) func randomHistoriesKeepTheRules(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let slots = Int.random(in: 1...6, using: &random)
        var lanes = ConversationLanes<Int, Int>(
            slots: slots, reserved: [Int.random(in: 0..<slots, using: &random), 0],
            limits: seed % 2 == 0 ? [1: Int.random(in: 1...3, using: &random)] : [:])
        var delivered: [Int: [Int]] = [:]
        var startedInLane: [Int: [Int]] = [:]
        var running: [ConversationLanes<Int, Int>.Ticket] = []
        var sleeping: [ConversationLanes<Int, Int>.Ticket] = []
        var woken = 0
        var next = 0
        for step in 0..<4000 {
            let isEnding = step > 3000
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<4 where !isEnding:
                let key = Int.random(in: 0..<5, using: &random)
                delivered[key, default: []].append(next)
                lanes.deliver(next, key: key, source: Int.random(in: 0...1, using: &random))
                next += 1
            case 4..<7 where !running.isEmpty:
                lanes.finish(running.remove(at: Int.random(in: 0..<running.count, using: &random)))
            case 7 where !running.isEmpty && !isEnding:
                let ticket = running.remove(at: Int.random(in: 0..<running.count, using: &random))
                lanes.pause(ticket)
                sleeping.append(ticket)
            case 8 where !sleeping.isEmpty:
                lanes.wake(sleeping.remove(at: Int.random(in: 0..<sleeping.count, using: &random)))
                woken += 1
            default: break
            }
            while let start = lanes.next() {
                switch start {
                case .start(let ticket, let item):
                    #expect(!running.contains { $0.key == ticket.key } && !sleeping.contains { $0.key == ticket.key })
                    startedInLane[ticket.key!, default: []].append(item)
                    running.append(ticket)
                case .resume(let ticket):
                    woken -= 1
                    running.append(ticket)
                }
            }
            #expect(running.count == lanes.running && running.count <= slots, "seed \(seed)")
        }
        for ticket in sleeping { lanes.wake(ticket) }
        while !running.isEmpty || !lanes.isIdle || lanes.waiting > 0 {
            if let ticket = running.popLast() { lanes.finish(ticket) }
            while let start = lanes.next() {
                switch start {
                case .start(let ticket, let item):
                    startedInLane[ticket.key!, default: []].append(item)
                    running.append(ticket)
                case .resume(let ticket): running.append(ticket)
                }
            }
        }
        #expect(startedInLane == delivered, "seed \(seed)")
    }
}

extension ConversationLanesTests {
    /// Whatever has been started comes to its end once the lanes are closed and nothing waits any longer.
    @Test func closedLanesComeToTheirEnd() {
        for _ in 0..<2000 {
            var random = SeededGenerator(seed: .random(in: 0 ... .max))
            var lanes = ConversationLanes<Int, Int>(
                slots: Int.random(in: 2...4, using: &random), reserved: [0, 0], limits: [0: 1])
            var running: [ConversationLanes<Int, Int>.Ticket] = []
            var sleeping: [ConversationLanes<Int, Int>.Ticket] = []
            for step in 0..<Int.random(in: 20..<120, using: &random) {
                switch Int.random(in: 0..<7, using: &random) {
                case 0..<3: lanes.deliver(step, key: .random(in: 0..<8, using: &random), source: step % 2)
                case 3 where !running.isEmpty: lanes.finish(running.removeFirst())
                case 4 where !running.isEmpty:
                    sleeping.append(running.removeFirst())
                    lanes.pause(sleeping.last!)
                case 5..<7 where !sleeping.isEmpty: lanes.wake(sleeping.removeFirst())
                default: break
                }
                Self.start(&lanes, &running)
            }
            lanes.close()
            for ticket in sleeping { lanes.wake(ticket) }
            Self.start(&lanes, &running)
            while let ticket = running.popLast() {
                lanes.finish(ticket)
                Self.start(&lanes, &running)
            }
            #expect(lanes.isIdle, "seed \(random.seed)")
        }
    }

    private static func start(
        _ lanes: inout ConversationLanes<Int, Int>, _ running: inout [ConversationLanes<Int, Int>.Ticket]
    ) {
        while let start = lanes.next() {
            switch start {
            case .start(let ticket, _), .resume(let ticket): running.append(ticket)
            }
        }
    }

    @Test func aGroupsLimitCanBeChangedAtRunTime() {
        var lanes = Lanes(slots: 4, reserved: [0])
        var tickets: [String: Lanes.Ticket] = [:]
        lanes.setLimit(1, for: "a")
        for item in ["a1", "a2", "a3", "b1"] { lanes.deliver(item, key: item, source: 0) }
        #expect(startAll(&lanes, &tickets) == ["a1", "b1"])
        lanes.setLimit(2, for: "a")
        #expect(startAll(&lanes, &tickets) == ["a2"] && lanes.running(in: "a") == 2)
        // Lowered: what runs goes on, and nothing starts until enough of it has finished.
        lanes.setLimit(1, for: "a")
        lanes.finish(tickets["a1"]!)
        #expect(startAll(&lanes, &tickets) == [])
        lanes.setLimit(nil, for: "a")
        #expect(startAll(&lanes, &tickets) == ["a3"])
    }
}
