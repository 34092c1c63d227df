// How the newest state is found in the stream: transcripts.

import FleetControls
import RoutingContract
import Testing

@Suite struct ControlReadingTests {
    private var reading = ControlReading()

    private static let garbage = Array("garbage".utf8)
    private static let newer = Array(#"{"schemaVersion":7}"#.utf8)
    private static let nothing = ControlState().json

    private static func state(_ version: Int) -> ControlState { ControlState(version: version) }

    private func known(_ version: Int, endsInGarbage: Bool = false) -> ControlReading.Action {
        .know(KnownControls(state: Self.state(version), endsInGarbage: endsInGarbage))
    }

    private mutating func took(_ offset: Int64, _ bodies: [UInt8]...) -> [ControlReading.Action] {
        reading.took(bodies.enumerated().map { (offset + Int64($0.offset), $0.element) })
    }

    @Test mutating func theLastStateOfTheLastMessagesHolds() {
        #expect(took(7, Self.state(1).json, Self.state(2).json) == [known(2)])
        #expect(took(9, Self.state(3).json) == [known(3)])
        #expect(reading.heardNothing() == [])
    }

    @Test mutating func anEmptyStreamIsToldByAMarkOfItsEnd() {
        #expect(reading.heardNothing() == [.markEnd])
        #expect(reading.heardNothing() == [])
        #expect(took(0, Self.nothing) == [.readFromFirst])
        #expect(took(0, Self.nothing) == [known(0)])
        #expect(took(1, Self.nothing) == [])
        #expect(took(2, Self.state(1).json) == [known(1)])
    }

    @Test mutating func aMarkThatCouldNotBePublishedIsTriedAgain() {
        #expect(reading.heardNothing() == [.markEnd])
        reading.notMarked()
        #expect(reading.heardNothing() == [.markEnd])
    }

    @Test mutating func aStateThatCameBeforeTheMarkHolds() {
        #expect(reading.heardNothing() == [.markEnd])
        #expect(took(4, Self.state(5).json, Self.nothing) == [known(5)])
        #expect(took(6, Self.nothing) == [])
    }

    @Test mutating func behindGarbageTheWholeStreamIsRead() {
        #expect(took(9, Self.garbage) == [.readFromFirst])
        #expect(reading.isFromFirst)
        // What held long ago does not hold again meanwhile.
        #expect(took(0, Self.state(1).json, Self.state(2).json) == [])
        let actions = took(2, Self.state(3).json, Self.garbage, Self.garbage, Self.garbage, Self.garbage, Self.garbage)
        #expect(actions.isEmpty == false && !actions.contains(known(3)))
        #expect(took(8, Self.garbage, Self.garbage).last == known(3, endsInGarbage: true))
        #expect(took(10, Self.state(4).json) == [known(4)])
    }

    @Test mutating func garbageChangesNothing() {
        #expect(took(0, Self.state(1).json) == [known(1)])
        let actions = took(1, Self.garbage)
        #expect(actions.count == 1 && !actions.contains(known(1)))
        #expect(took(2, Self.garbage, Self.state(2).json, Self.garbage).last == known(2, endsInGarbage: true))
    }

    @Test mutating func behindAStateOfALaterVersionNobodyKnowsWhatHolds() {
        #expect(took(3, Self.state(1).json, Self.newer) == [.refuse(schema: 7)])
        #expect(took(5, Self.garbage).contains(.refuse(schema: 7)) == false)
        // An operator with the version before has stated everything anew.
        #expect(took(6, Self.state(9).json) == [known(9)])
        #expect(took(7, Self.newer, Self.garbage).last == .refuse(schema: 7))
    }

    @Test mutating func afterALossItIsReadFromItsLastMessagesAgain() {
        #expect(took(0, Self.garbage) == [.readFromFirst])
        reading.restart()
        #expect(!reading.isFromFirst)
        #expect(took(9, Self.state(9).json) == [known(9)])
    }
}
