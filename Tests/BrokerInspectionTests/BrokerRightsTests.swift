// What is said of a user's rights.

import RouteWorker
import Testing

@testable import BrokerInspection

@Suite("Judging rights")
struct BrokerRightsTests {
    private let least = Permissions(
        configure: #"^(routing\.commands\.parked\..*)$"#, write: #"^amq\.default$"#,
        read: #"^(routing\.commands|routing\.commands\.parked\..*|routing\.commands\.workers|routing\.controls)$"#)

    @Test("All rights, or those that matter, are well")
    func well() {
        var rights = BrokerRights()
        #expect(rights.diagnose(needs).isWell)
        // Somebody has declared the parking queues.
        rights.mayConfigureParking = false
        #expect(rights.diagnose(needs).isWell)
    }

    @Test("Missing rights are given beside those that the user has, or in their place where they are not known")
    func missing() {
        var rights = BrokerRights()
        rights.mayPublish = false
        rights.unreadable = ["routing.commands"]
        var diagnosis = rights.diagnose(needs)
        #expect(diagnosis.severities == [.loss, .loss])
        #expect(
            diagnosis.remedy == [
                .say("this takes the place of all rights that the user has there:"),
                .run("rabbitmqctl set_permissions -p / worker '\(least.configure)' '\(least.write)' '\(least.read)'"),
            ])
        rights.present = Permissions(configure: "", write: "^x$", read: "")
        diagnosis = rights.diagnose(needs)
        #expect(
            diagnosis.remedy == [
                .run("rabbitmqctl set_permissions -p / worker '' '^x$|\(least.write)' '\(least.read)'")
            ])
    }

    @Test("Who may not park needs parking queues")
    func parking() {
        var rights = BrokerRights()
        rights.mayConfigureParking = false
        rights.missingParking = ["routing.commands.parked.00D000000000001", "routing.commands.parked.00D000000000002"]
        let diagnosis = rights.diagnose(needs)
        #expect(diagnosis.severities == [.risk])
        #expect(diagnosis.texts[0].contains("'routing.commands.parked.00D000000000001' and 1 others"))
        #expect(diagnosis.lines.count == 2 && diagnosis.lines[0].contains("as a user that may configure it"))
        #expect(diagnosis.lines[1] == "$ route-worker topology declare -c worker.yaml --parking")
    }

    @Test("Who may configure parking queues and not read them cannot declare one, and is given the right to read")
    func unreadParking() {
        var rights = BrokerRights()
        rights.mayReadParking = false
        rights.missingParking = ["routing.commands.parked.00D000000000001"]
        rights.present = Permissions(configure: ".*", write: ".*", read: "^x$")
        let diagnosis = rights.diagnose(needs)
        #expect(diagnosis.severities == [.risk])
        #expect(diagnosis.lines == ["$ rabbitmqctl set_permissions -p / worker '.*' '.*' '^x$|\(least.read)'"])
    }
}
