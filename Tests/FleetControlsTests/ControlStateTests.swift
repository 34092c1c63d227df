// What holds for an org after operators have spoken, and how it travels.

import FleetControls
import RoutingContract
import Testing

@Suite struct ControlStateTests {
    private static let acme = OrgID("00D000000000001")!
    private static let globex = OrgID("00D000000000002")!

    private var state = ControlState()

    /// - Returns: whether anything changed.
    @discardableResult
    private mutating func say(_ change: ControlChange, _ org: OrgID? = nil, at second: Int64 = 0) -> Bool {
        let note = ControlNote(since: Timestamp(milliseconds: second * 1000), by: "me@here", reason: "why")
        guard let next = state.changed(by: change, for: org, note) else { return false }
        #expect(next.version == state.version + 1 && next.changed == note)
        state = next
        return true
    }

    private func isPaused(_ org: OrgID) -> Bool { state.control(of: org).isPaused }
    private func mode(_ org: OrgID) -> ControlMode { state.control(of: org).mode }

    @Test func whereNobodySaysAnythingAllIsLive() {
        #expect(state.control(of: Self.acme) == .live && state.control(of: nil) == .live)
    }

    @Test mutating func aPauseOfOneOrgIsItsOwn() {
        #expect(say(.pause, Self.acme, at: 1))
        #expect(isPaused(Self.acme) && !isPaused(Self.globex))
        // Who said it first counts.
        #expect(!say(.pause, Self.acme, at: 2))
        #expect(state.orgs[Self.acme]?.paused?.note.since == Timestamp(milliseconds: 1000))
        #expect(say(.resume, Self.acme) && state.orgs.isEmpty)
        #expect(!say(.resume, Self.acme))
    }

    @Test mutating func aPauseOfAllIsThatOfEachOrgAndExceptsNoneFromBefore() {
        say(.pause)
        #expect(isPaused(Self.acme) && isPaused(Self.globex))
        #expect(say(.resume, Self.acme))
        #expect(!isPaused(Self.acme) && isPaused(Self.globex))
        #expect(say(.pause), "the exception goes")
        #expect(isPaused(Self.acme))
        #expect(!say(.pause))
        say(.resume, Self.acme)
        say(.resume)
        #expect(state.orgs.isEmpty && state.all == ControlEntry())
    }

    @Test mutating func whatWasPausedByNameStaysPausedAfterAllAreResumed() {
        say(.pause, Self.acme)
        say(.pause)
        say(.resume)
        #expect(isPaused(Self.acme) && !isPaused(Self.globex))
        // Also where it was said meanwhile.
        say(.pause)
        #expect(say(.pause, Self.globex))
        say(.resume)
        #expect(isPaused(Self.globex))
    }

    @Test mutating func theModeOfAnOrgGoesBeforeThatOfAll() {
        say(.mode(.shadow))
        #expect(mode(Self.acme) == .shadow && state.control(of: nil).mode == .shadow)
        say(.mode(.live), Self.acme)
        say(.mode(.passthrough(to: "old")), Self.globex)
        #expect(mode(Self.acme) == .live && mode(Self.globex) == .passthrough(to: "old"))
        #expect(!say(.mode(.passthrough(to: "old")), Self.globex))
        #expect(say(.mode(.passthrough(to: "older")), Self.globex))
        say(.mode(.live))
        #expect(state.all == ControlEntry() && mode(Self.globex) == .passthrough(to: "older"))
        say(.mode(.shadow))
        #expect(mode(Self.acme) == .live)
    }

    @Test mutating func aModeThatWasSaidByNameHoldsAlsoWhereAllHadIt() {
        say(.mode(.shadow))
        #expect(say(.mode(.shadow), Self.acme, at: 1))
        #expect(!say(.mode(.shadow), Self.acme, at: 2))
        say(.mode(.passthrough(to: "old")), Self.globex)
        // All are as globex is for a while.
        say(.mode(.passthrough(to: "old")))
        say(.mode(.live))
        #expect(mode(Self.acme) == .shadow && mode(Self.globex) == .passthrough(to: "old"))
        #expect(state.control(of: nil).mode == .live)
    }

    @Test mutating func pauseAndModeAreTwoThings() {
        say(.mode(.shadow), Self.acme)
        say(.pause, Self.acme)
        #expect(state.control(of: Self.acme) == OrgControl(isPaused: true, mode: .shadow))
        say(.resume, Self.acme)
        #expect(state.control(of: Self.acme) == OrgControl(mode: .shadow))
    }

    @Test func restatingSaysTheSameUnderTheNextVersion() {
        let note = ControlNote(since: Timestamp(milliseconds: 0), by: "me@here")
        let next = state.changed(by: .resume, for: nil, note, restating: true)
        #expect(next == ControlState(version: 1, changed: note))
    }

    @Test mutating func travelsAsOneMessage() {
        say(.pause)
        say(.resume, Self.acme)
        say(.mode(.passthrough(to: "legacy.commands")), Self.globex)
        let message = state.message("id", at: Timestamp(milliseconds: 0))
        #expect(message.properties.deliveryMode == 2 && message.properties.messageID == "id")
        #expect(ControlState.read(message.body) == .state(state))
        #expect(ControlState.read(ControlState().json) == .state(ControlState()))
    }

    @Test(
        "What is no state is told from a state of a later version",
        arguments: [
            ("", nil), ("nonsense", nil), ("[]", nil), ("{}", nil), (#"{"schemaVersion":0}"#, nil),
            (#"{"schemaVersion":1}"#, nil), (#"{"schemaVersion":2,"anything":[]}"#, 2),
            (#"{"schemaVersion":1,"version":-1,"all":{},"orgs":{}}"#, nil),
            // No next one could be counted.
            (#"{"schemaVersion":1,"version":9223372036854775807,"all":{},"orgs":{}}"#, nil),
            (#"{"schemaVersion":1,"version":1,"all":{},"orgs":{"acme":{}}}"#, nil),
            (
                #"{"schemaVersion":1,"version":1,"all":{"mode":{"mode":"fast","note":{"since":"2026-01-01T00:00:00Z","by":"a"}}},"orgs":{}}"#,
                nil
            ),
            (
                #"{"schemaVersion":1,"version":1,"all":{"paused":{"paused":true,"note":{"since":"today","by":"a"}}},"orgs":{}}"#,
                nil
            ),
        ] as [(String, Int?)])
    func noStates(text: String, schema: Int?) {
        switch ControlState.read(Array(text.utf8)) {
        case .state: Issue.record("read \(text)")
        case .newer(let found): #expect(found == schema)
        case .garbage: #expect(schema == nil)
        }
    }

    @Test func modesAreNamed() {
        #expect(ControlMode(named: "passthrough", to: "q") == .passthrough(to: "q"))
        for (name, target) in [("passthrough", nil), ("passthrough", ""), ("live", "q"), ("shadow", "q"), ("off", nil)]
        {
            #expect(ControlMode(named: name, to: target) == nil)
        }
    }
}
