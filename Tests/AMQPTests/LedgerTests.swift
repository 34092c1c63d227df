// Transcripts of the two ledgers: acks merged where the order allows, confirms resolved in ranges.
import RoutingContract
import Testing

@testable import AMQP

@Suite struct AckLedgerTests {
    private func ledger(_ count: UInt64) -> AckLedger {
        var ledger = AckLedger()
        for tag in 0..<count { #expect(ledger.delivered(tag + 1) == true) }
        return ledger
    }

    private func flush(_ ledger: inout AckLedger) -> [AckAction] {
        var actions: [AckAction] = []
        ledger.flush { actions.append($0) }
        return actions
    }

    @Test func settledFromTheFrontIsOneAck() {
        var ledger = ledger(5)
        for tag: UInt64 in [3, 1, 2] { ledger.settle(tag, rejecting: false) }
        #expect(flush(&ledger) == [.ack(tag: 3, multiple: true)])
        #expect(ledger.outstanding == 2)
        ledger.settle(4, rejecting: false)
        #expect(flush(&ledger) == [.ack(tag: 4, multiple: false)])
        #expect(flush(&ledger) == [])
    }

    @Test func gapsAreAckedOneByOne() {
        var ledger = ledger(5)
        for tag: UInt64 in [5, 3] { ledger.settle(tag, rejecting: false) }
        #expect(flush(&ledger) == [.ack(tag: 5, multiple: false), .ack(tag: 3, multiple: false)])
        for tag: UInt64 in [1, 2] { ledger.settle(tag, rejecting: false) }
        #expect(flush(&ledger) == [.ack(tag: 2, multiple: true)])
        // 5 was sent long ago: naming it again would close the channel.
        ledger.settle(4, rejecting: false)
        #expect(flush(&ledger) == [.ack(tag: 4, multiple: false)])
        #expect(ledger.outstanding == 0)
    }

    @Test func rejectsGoAheadOfTheAckThatCoversThem() {
        var ledger = ledger(4)
        ledger.settle(1, rejecting: false)
        ledger.settle(2, rejecting: true)
        ledger.settle(3, rejecting: false)
        ledger.settle(4, rejecting: true)
        #expect(flush(&ledger) == [.reject(tag: 2), .reject(tag: 4), .ack(tag: 3, multiple: true)])
    }

    @Test func unknownAndRepeatedSettlementsAreDropped() {
        var ledger = ledger(2)
        for tag: UInt64 in [0, 3, .max] { ledger.settle(tag, rejecting: false) }
        ledger.settle(1, rejecting: false)
        ledger.settle(1, rejecting: true)
        #expect(flush(&ledger) == [.ack(tag: 1, multiple: false)])
        ledger.settle(1, rejecting: false)
        #expect(flush(&ledger) == [])
    }

    @Test func tagsOutOfTurnAreTold() {
        var ledger = ledger(2)
        #expect(ledger.delivered(2) == false)
        #expect(ledger.delivered(4) == false)
        #expect(ledger.delivered(3) == true)
    }

    /// Against a model of the broker, which knows the tags that are outstanding and closes on any other.
    @Test func brokerAgreesWithEverySequence() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<200 {
            var ledger = AckLedger()
            var atBroker: Set<UInt64> = []
            var acked: Set<UInt64> = []
            var unsettled: [UInt64] = []
            var rejects: Set<UInt64> = []
            var settled: Set<UInt64> = []
            var next: UInt64 = 1
            for _ in 0..<100 {
                for _ in 0..<Int.random(in: 0...20, using: &random) {
                    #expect(ledger.delivered(next) == true)
                    atBroker.insert(next)
                    unsettled.append(next)
                    next += 1
                }
                unsettled.shuffle(using: &random)
                for _ in 0..<Int.random(in: 0...unsettled.count, using: &random) {
                    let tag = unsettled.removeLast()
                    let rejecting = Int.random(in: 0..<5, using: &random) == 0
                    if rejecting { rejects.insert(tag) }
                    settled.insert(tag)
                    ledger.settle(tag, rejecting: rejecting)
                }
                ledger.flush { action in
                    switch action {
                    case .reject(let tag):
                        #expect(rejects.contains(tag) && atBroker.remove(tag) != nil)
                    case .ack(let tag, let multiple):
                        #expect(atBroker.contains(tag))
                        for covered in atBroker where covered == tag || (multiple && covered < tag) {
                            atBroker.remove(covered)
                            acked.insert(covered)
                        }
                    }
                }
                #expect(acked == settled.subtracting(rejects))
                #expect(atBroker == Set(unsettled))
                #expect(ledger.outstanding == unsettled.count)
            }
        }
    }
}

@Suite struct ConfirmLedgerTests {
    private enum Told: Equatable {
        case answer(String, BrokerAnswer)
        case over(String)
    }

    private struct Transcript {
        var ledger = ConfirmLedger<String>()
        var told: [Told] = []

        mutating func publish(_ names: String..., mandatory: Bool = false) {
            for name in names { ledger.published(name, key: mandatory ? key(name) : nil, bytes: 10) }
        }

        mutating func confirm(_ sequence: UInt64, multiple: Bool = false, isNack: Bool = false) -> Bool {
            var told: [Told] = []
            let isKnown = ledger.confirmed(sequence, multiple: multiple, isNack: isNack) {
                told.append(.answer($0, $1))
            }
            self.told += told
            return isKnown
        }

        mutating func bringBack(_ name: String) -> Bool {
            ledger.returned(key(name), code: 312, text: "NO_ROUTE")
        }

        mutating func taken() -> [Told] {
            defer { told = [] }
            return told
        }

        func key(_ name: String) -> ReturnKey { ReturnKey(messageID: name, exchange: "", routingKey: "q") }
    }

    @Test func singleAndRangeConfirms() {
        var transcript = Transcript()
        transcript.publish("a", "b", "c", "d", "e")
        #expect(transcript.confirm(3) == true)
        #expect(transcript.taken() == [.answer("c", .confirmed)])
        #expect(transcript.confirm(4, multiple: true) == true)
        #expect(transcript.taken() == [.answer("a", .confirmed), .answer("b", .confirmed), .answer("d", .confirmed)])
        #expect(transcript.ledger.count == 1 && transcript.ledger.bytes == 10)
        transcript.publish("f")
        #expect(transcript.confirm(0, multiple: true) == true)
        #expect(transcript.taken() == [.answer("e", .confirmed), .answer("f", .confirmed)])
        #expect(transcript.ledger.isEmpty && transcript.ledger.bytes == 0)
    }

    @Test func returnComesBeforeTheAck() {
        var transcript = Transcript()
        transcript.publish("a", "b", mandatory: true)
        #expect(transcript.ledger.isInFlight(transcript.key("b")))
        #expect(transcript.bringBack("b") == true)
        #expect(transcript.taken() == [])
        #expect(transcript.confirm(2, multiple: true) == true)
        #expect(
            transcript.taken() == [
                .answer("a", .confirmed), .answer("b", .returned(code: 312, text: "NO_ROUTE")),
            ])
        #expect(!transcript.ledger.isInFlight(transcript.key("b")))
        #expect(transcript.bringBack("b") == false)
    }

    @Test func nacksAreTold() {
        var transcript = Transcript()
        transcript.publish("a", "b", "c")
        #expect(transcript.confirm(2, multiple: true, isNack: true) == true)
        #expect(transcript.taken() == [.answer("a", .nacked), .answer("b", .nacked)])
    }

    @Test func confirmsOfTheUnpublishedAreTold() {
        var transcript = Transcript()
        #expect(transcript.confirm(1) == false)
        #expect(transcript.confirm(0) == false)
        transcript.publish("a")
        #expect(transcript.confirm(2) == false)
        #expect(transcript.confirm(2, multiple: true) == false)
        #expect(transcript.confirm(0) == false)
        #expect(transcript.confirm(1) == true)
        // A confirm twice is harmless.
        #expect(transcript.confirm(1) == true)
        #expect(transcript.taken() == [.answer("a", .confirmed)])
    }

    @Test func whatIsAbandonedCountsNoMore() {
        var transcript = Transcript()
        transcript.publish("a", "b", "c")
        var over: [String] = []
        transcript.ledger.abandon(where: { $0 == "b" }) { over.append($0) }
        #expect(over == ["b"])
        #expect(transcript.ledger.count == 2 && transcript.ledger.bytes == 20)
        // Its own confirm is nobody's.
        #expect(transcript.confirm(2) == true)
        #expect(transcript.confirm(3, multiple: true) == true)
        #expect(transcript.taken() == [.answer("a", .confirmed), .answer("c", .confirmed)])
        #expect(transcript.confirm(4) == false)
    }

    @Test func aQueueThatConfirmsNothingFillsNeitherWindowNorMemory() {
        var transcript = Transcript()
        for round in 0..<5000 {
            let first = UInt64(2 * round + 1)
            transcript.publish("stuck \(round)", mandatory: true)
            transcript.publish("well \(round)", mandatory: true)
            #expect(transcript.confirm(first + 1) == true)
            transcript.ledger.abandon(where: { $0.hasPrefix("stuck") }) { _ in }
            #expect(transcript.ledger.isEmpty && transcript.ledger.remembered == 0)
        }
        #expect(transcript.taken().count == 5000)
    }

    /// A broker that had stopped says late that there was no way for a message.
    @Test func aReturnOfWhatWasAbandonedIsNoViolation() {
        var transcript = Transcript()
        transcript.publish("a", "b", mandatory: true)
        transcript.ledger.abandon(where: { $0 == "a" }) { _ in }
        #expect(transcript.bringBack("a") == true)
        #expect(transcript.confirm(2, multiple: true) == true)
        #expect(transcript.taken() == [.answer("b", .confirmed)])
    }

    @Test func anotherWithTheKeyOfAnAbandonedOneMayBePublished() {
        var transcript = Transcript()
        transcript.publish("a", mandatory: true)
        transcript.ledger.abandon(where: { $0 == "a" }) { _ in }
        #expect(!transcript.ledger.isInFlight(transcript.key("a")))
        transcript.publish("a", mandatory: true)
        #expect(transcript.ledger.isInFlight(transcript.key("a")))
        // The first one's late confirm is nobody's, and leaves the second to be returned.
        #expect(transcript.confirm(1) == true)
        #expect(transcript.taken() == [] && transcript.ledger.isInFlight(transcript.key("a")))
        #expect(transcript.bringBack("a") == true)
        #expect(transcript.confirm(2) == true)
        #expect(transcript.taken() == [.answer("a", .returned(code: 312, text: "NO_ROUTE"))])
        #expect(transcript.ledger.isEmpty && !transcript.ledger.isInFlight(transcript.key("a")))
    }

    @Test func failingAllTellsInOrderAndStartsAnew() {
        var transcript = Transcript()
        transcript.publish("a", "b", "c", mandatory: true)
        #expect(transcript.confirm(2) == true)
        _ = transcript.taken()
        var failed: [String] = []
        transcript.ledger.failAll { waiter, _ in failed.append(waiter) }
        #expect(failed == ["a", "c"])
        #expect(transcript.ledger.isEmpty && !transcript.ledger.isInFlight(transcript.key("a")))
        transcript.publish("d")
        #expect(transcript.confirm(1) == true)
        #expect(transcript.taken() == [.answer("d", .confirmed)])
    }

    @Test func everyWaiterIsToldOnce() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var ledger = ConfirmLedger<UInt64>()
        var told: [UInt64: Int] = [:]
        var open: Set<UInt64> = []
        var next: UInt64 = 1
        for _ in 0..<5000 {
            for _ in 0..<Int.random(in: 0...5, using: &random) {
                ledger.published(next, key: nil, bytes: 1)
                open.insert(next)
                next += 1
            }
            guard let tag = open.randomElement(using: &random) else { continue }
            let multiple = Bool.random(using: &random)
            #expect(
                ledger.confirmed(tag, multiple: multiple, isNack: false) { waiter, _ in told[waiter, default: 0] += 1 })
            open = open.filter { multiple ? $0 > tag : $0 != tag }
            #expect(ledger.count == open.count && ledger.bytes == open.count)
        }
        ledger.failAll { waiter, _ in told[waiter, default: 0] += 1 }
        #expect(told.count == Int(next) - 1 && told.values.allSatisfy { $0 == 1 })
    }
}
