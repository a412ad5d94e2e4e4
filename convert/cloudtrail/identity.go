package cloudtrail

import (
	"strings"

	"github.com/attestlog/attestlog"
	"github.com/attestlog/attestlog/convert"
	"github.com/attestlog/attestlog/internal/loosejson"
)

const identity = "userIdentity"

// actor maps userIdentity. The ARN and the names leave the attributes: they
// are in the actor, where they can be erased.
func actor(o convert.Object) attestlog.Actor {
	a := attestlog.Actor{Type: actorType(o)}
	arn := o.Text(identity, "arn")
	for _, name := range [...]string{"arn", "principalId", "userName", "invokedBy", "accountId"} {
		if a.ID == "" {
			a.ID = o.Take(identity, name)
		}
	}
	a.Name = o.Take(identity, "userName")
	if o.Text(identity, "type") == "AssumedRole" {
		// arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
		if parts := strings.Split(arn, "/"); a.Name == "" && len(parts) >= 3 {
			a.Name = parts[len(parts)-1]
		}
		a.OnBehalfOf = o.Take(identity, "sessionContext", "sessionIssuer", "arn")
	}
	if a.OnBehalfOf == "" {
		a.OnBehalfOf = o.Take(identity, "onBehalfOf", "userId")
	}
	if _, temporary := o.At(identity, "sessionContext"); temporary {
		a.Session = o.Take(identity, "accessKeyId")
	}
	return a
}

// actorType tells programs from people, as far as a record does.
func actorType(o convert.Object) string {
	_, onInstance := o.At(identity, "sessionContext", "ec2RoleDelivery")
	switch o.Text(identity, "type") {
	case "AWSService", "Role":
		return "service"
	case "AssumedRole":
		issuer := o.Text(identity, "sessionContext", "sessionIssuer", "arn")
		if onInstance || o.Text(identity, "invokedBy") != "" || strings.Contains(issuer, ":role/aws-service-role/") {
			return "service"
		}
		return "user"
	case "Root", "IAMUser", "FederatedUser", "SAMLUser", "WebIdentityUser", "IdentityCenterUser", "Directory":
		return "user"
	}
	switch {
	case o.Text("eventType") == "AwsServiceEvent":
		return "system"
	case o.Text(identity, "invokedBy") != "":
		return "service"
	}
	return ""
}

// named are request parameters that say what was acted on, where the record
// has no resources, with the CloudFormation type of what they name.
var named = []struct{ parameter, kind string }{
	{"bucketName", "AWS::S3::Bucket"},
	{"instanceId", "AWS::EC2::Instance"},
	{"volumeId", "AWS::EC2::Volume"},
	{"snapshotId", "AWS::EC2::Snapshot"},
	{"groupId", "AWS::EC2::SecurityGroup"},
	{"vpcId", "AWS::EC2::VPC"},
	{"subnetId", "AWS::EC2::Subnet"},
	{"dBInstanceIdentifier", "AWS::RDS::DBInstance"},
	{"functionName", "AWS::Lambda::Function"},
	{"secretId", "AWS::SecretsManager::Secret"},
	{"keyId", "AWS::KMS::Key"},
	{"roleArn", "AWS::IAM::Role"},
	{"roleName", "AWS::IAM::Role"},
	{"userName", "AWS::IAM::User"},
	{"policyArn", "AWS::IAM::ManagedPolicy"},
	{"instanceProfileName", "AWS::IAM::InstanceProfile"},
	{"logGroupName", "AWS::Logs::LogGroup"},
	{"trailName", "AWS::CloudTrail::Trail"},
}

func targets(o convert.Object) []attestlog.Target {
	if found, all := resources(o); len(found) > 0 {
		if all {
			delete(o, "resources")
		}
		return found
	}
	parameters := o.Object("requestParameters")
	var found []attestlog.Target
	for _, n := range named {
		if id := parameters.Text(n.parameter); id != "" {
			found = append(found, attestlog.Target{ID: id, Type: n.kind})
		}
	}
	return found
}

// resources returns the record's resources as targets, and whether the targets
// hold all that the resources do.
func resources(o convert.Object) (found []attestlog.Target, all bool) {
	v, _ := o.At("resources")
	list, _ := v.([]any)
	all = true
	for _, v := range list {
		m, _ := v.(map[string]any)
		r := convert.Object(m)
		t := attestlog.Target{ID: r.Text("ARN"), Type: r.Text("type")}
		if t.ID == "" {
			t.ID = r.Text("arn")
		}
		if t.ID == "" {
			t.ID = r.Text("ARNPrefix")
		}
		fields := 0
		for _, s := range []string{t.ID, t.Type} {
			if s != "" {
				fields++
			}
		}
		all = all && len(m) == fields
		if fields > 0 {
			found = append(found, t)
		}
	}
	_, repeated := o["resources"].(loosejson.Repeated)
	return found, all && !repeated
}
